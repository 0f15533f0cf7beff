"""WebShop behind the contract of a text environment. Knows catalogues and sessions; the shop's rules are in `session`."""

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from envs.base import EnvError, StepResult, TextEnv
from envs.config import ShopConfig, WebshopConfig
from envs.task import Task
from envs.webshop.catalogue import open_catalogue
from envs.webshop.pages import render, visible
from envs.webshop.session import Outcome, Session

SEARCH = "search[...]"
"""Stands among the admissible actions for a search, whose words are free."""


def open_env(config: WebshopConfig) -> TextEnv:
    return WebshopEnv(config)


def list_tasks(config: WebshopConfig, split: str | None = None) -> list[Task]:
    shop = open_catalogue(config.catalogue)
    return [
        task for task in _tasks(config.catalogue, shop.sha256, config.goals) if split in (None, task.split)
    ]


def content_hashes(config: WebshopConfig, tasks: Sequence[Task]) -> list[str]:
    """Of the goal with its price cap and its product's price, and of the whole catalogue, among which it is searched.

    Raises:
        EnvError: goals of `tasks` are not there; the message counts them.
    """
    shop = open_catalogue(config.catalogue)
    goals = shop.goals(config.goals)
    places = [goals.place(task.id) for task in tasks]
    missing = [task.id for task, place in zip(tasks, places, strict=True) if place is None]
    if missing:
        raise EnvError(
            f"{config.catalogue} lacks {len(missing)} of {len(tasks)} {config.goals} goals, first {missing[0]}; "
            "a catalogue has them only if it was built from the same files with the same seed"
        )
    return [
        hashlib.sha256(f"{goals[place].sha256} {shop.sha256}".encode()).hexdigest()
        for place in places
        if place is not None
    ]


def gold_plan(config: WebshopConfig, task: Task) -> tuple[str, ...]:
    """Search for the very title of the product that the goal was written for, open it, choose what the goal names, and buy."""
    goals = open_catalogue(config.catalogue).goals(config.goals)
    place = goals.place(task.id)
    if place is None:
        raise EnvError(f"no {config.goals} goal of {config.catalogue} is called {task.id!r}")
    goal = goals[place]
    options = (option if isinstance(option, str) else option[1] for option in goal.options)
    return (
        f"search[{goal.title}]",
        f"click[{goal.asin}]",
        *(f"click[{o}]" for o in options),
        "click[Buy Now]",
    )


def dialect(config: WebshopConfig) -> str:
    """The protocol: it decides what an action does and what it is worth. A view only shows it."""
    return config.protocol


def generate(settings: ShopConfig, folder: Path) -> None:
    from envs.webshop.generate import generate_splits

    generate_splits(folder, **settings.model_dump(exclude={"make"}))


@lru_cache(maxsize=4)
def _tasks(folder: str, _sha256: str, kind: str) -> list[Task]:
    goals = open_catalogue(folder).goals(kind)
    listed = []
    for place, task_id in enumerate(goals.ids):
        goal = goals[place]
        listed.append(
            Task(
                env="webshop",
                split=goals.split(place),
                id=task_id,
                kind=goal.category or "other",
                goal=goal.text.strip() or goal.title,
            )
        )
    return sorted(listed, key=lambda task: task.id)


class WebshopEnv:
    """One shopper; many share a process and its catalogue."""

    def __init__(self, config: WebshopConfig) -> None:
        self._config = config
        self._shop = open_catalogue(config.catalogue)
        self._goals = self._shop.goals(config.goals)
        self._session: Session | None = None

    def reset(self, task: Task, *, seed: int) -> StepResult:
        """`seed` draws what `search[<r>]` shows and nothing else."""
        place = self._goals.place(task.id)
        if place is None:
            raise EnvError(
                f"no {self._config.goals} goal of {self._config.catalogue} is called {task.id!r}; ids are content hashes, "
                "so they change with the files and the seed of the build"
            )
        self._session = Session(
            catalogue=self._shop,
            goal=self._goals[place],
            name=str(place),
            protocol=self._config.protocol,
            rng=random.Random(f"{task.id} {seed}"),
        )
        return self._result(self._session, None)

    def step(self, action: str) -> StepResult:
        if self._session is None:
            raise EnvError("step before reset: nobody is shopping")
        return self._result(self._session, self._session.act(action))

    def close(self) -> None:
        self._session = None

    def _result(self, session: Session, outcome: Outcome | None) -> StepResult:
        config = self._config
        worth = outcome.reward if outcome else None
        score = min(1.0, worth.total) if worth else 0.0
        shown = render(session, config.view, outcome=outcome, results_shown=config.results_shown)
        return StepResult(
            observation=shown,
            score=score,
            success=score == 1.0,
            done=worth is not None,
            admissible=_admissible(session, config),
            valid=outcome is None or outcome.valid,
            parts=worth.parts if worth else {},
        )


def _admissible(session: Session, config: WebshopConfig) -> tuple[str, ...]:
    names = visible(session, config.view, config.results_shown)
    actions = [f"click[{name}]" for name in names if name != "search"]
    if session.page.kind == "index":
        actions.append(SEARCH)
    return tuple(sorted(actions))
