"""Failures of which it is known what would have mended them, and banks of advice that were written from such failures.

A made-up player lacks habits. What mends a failure is found by playing it again: the smallest sets of lacking habits with which the same
player wins the same task. A hint's habit is known because its sentence was made for that habit. Neither looks at any retriever.
"""

import itertools
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.hints.bank import Bank, build_bank
from distill.hints.hint import Hint, Writing, hint_of, normalise
from distill.pocket import advice as house_advice
from distill.pocket.demonstrator import Demonstration
from distill.pocket.demonstrator import demonstrate as play_household
from distill.pocket.habits import Habit, habits_of_kind
from distill.pocket.habits import draw_habits as household_habits
from distill.pocket.households import task_of
from distill.pocket.shop import advice as shop_advice
from distill.pocket.shop.demonstrator import demonstrate as go_shopping
from distill.pocket.shop.demonstrator import noun_of
from distill.pocket.shop.habits import ShopHabit
from distill.pocket.shop.habits import draw_habits as shopping_habits
from envs.alfworld.generate import make_games
from envs.config import ShopConfig, WebshopConfig
from envs.registry import generate, list_tasks
from envs.task import Task
from envs.webshop.catalogue import open_catalogue

_MAX_STEPS = {"alfworld": 30, "webshop": 15}
_LARGEST_SET = 3
"""Habits that mend together at most; failures that need more are left out."""
_ASIDE = 0.3
"""Chance that a failure also leaves advice that does not mend it, as writers do."""
_SLOT = re.compile(r"\{([^{}]*)\}")
_THINGS = frozenset("object item thing target_object obj object_type product title article result".split())


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One task and a player with its habits, who may be given more of them."""

    task: Task
    about: str
    """What the player's habits depend on: the thing of a household, the noun of a purchase."""
    names: tuple[str, str]
    """The thing, and the place or the option, that a hint may name."""
    relevant: tuple[str, ...]
    """Habits that can matter."""
    has: frozenset[str]
    play: Callable[[frozenset[str]], Demonstration]


@dataclass(frozen=True, kw_only=True)
class Failure:
    attempt: Attempt
    opening: str
    mends: tuple[frozenset[str], ...]
    """Smallest sets of habits, each of which alone would have won it."""

    @property
    def task(self) -> Task:
        return self.attempt.task


@dataclass(frozen=True, kw_only=True)
class LabelledBank:
    bank: Bank
    habits: Mapping[str, frozenset[str]]
    """Of every hint by id; {} for advice about none."""
    tasks: Mapping[str, frozenset[str]]
    """Keys of the tasks that it was written from, by id."""


def households(num_train: int, num_test: int, seed: int, folder: Path) -> tuple[list[Attempt], list[Attempt]]:
    rng = random.Random(f"attempts {seed}")
    train = make_games(seed, num_train, side="train", rooms="small")
    test = make_games(seed, num_test, side="test", rooms="small")

    def attempt(game) -> Attempt:  # type: ignore[no-untyped-def]
        goal = game.goal
        return Attempt(
            task=task_of(game),
            about=goal.object_type,
            names=(goal.object_type, goal.receptacle_type or goal.lamp_type),
            relevant=tuple(habits_of_kind(game.kind)),
            has=household_habits(rng, goal.object_type, ()),
            play=lambda habits: play_household(
                game, {Habit(h) for h in habits}, max_steps=_MAX_STEPS["alfworld"]
            ),
        )

    return [attempt(made.game) for made in train], [attempt(made.game) for made in test]


def shop(num_train: int, num_test: int, seed: int, folder: Path) -> tuple[list[Attempt], list[Attempt]]:
    rng = random.Random(f"purchases {seed}")
    config = generate(
        ShopConfig(products=2 * (num_train + num_test), train=num_train, test=num_test, seed=seed),
        WebshopConfig(),
        folder / "shop",
    )
    catalogue = open_catalogue(config.catalogue)
    goals = catalogue.goals(config.goals)

    def attempt(task: Task) -> Attempt:
        place = goals.place(task.id)
        assert place is not None
        goal = goals[place]
        noun = noun_of(goal.text)
        options = [option for option in goal.options if isinstance(option, str)]
        return Attempt(
            task=task,
            about=noun,
            names=(noun, options[0] if options else "option"),
            relevant=tuple(ShopHabit),
            has=shopping_habits(rng, noun, ()),
            play=lambda habits: go_shopping(
                catalogue, goal, {ShopHabit(h) for h in habits}, max_steps=_MAX_STEPS["webshop"]
            ),
        )

    return [attempt(t) for t in list_tasks(config, "train")], [attempt(t) for t in list_tasks(config, "test")]


WORLDS = {"alfworld": households, "webshop": shop}


def failures(attempts: Sequence[Attempt]) -> Iterator[Failure]:
    """Those that at most three further habits win."""
    for attempt in attempts:
        shown = attempt.play(attempt.has)
        if shown.success:
            continue
        mends = _mends(attempt)
        if mends:
            yield Failure(attempt=attempt, opening=shown.opening, mends=mends)


def _mends(attempt: Attempt) -> tuple[frozenset[str], ...]:
    lacking = sorted(set(attempt.relevant) - attempt.has)
    for size in range(1, min(_LARGEST_SET, len(lacking)) + 1):
        sets = (frozenset(chosen) for chosen in itertools.combinations(lacking, size))
        if found := tuple(chosen for chosen in sets if attempt.play(attempt.has | chosen).success):
            return found
    return ()


def write_bank(lost: Sequence[Failure], seed: int, *, named: bool) -> LabelledBank:
    """A hint for each habit of one mending set of every failure, and now and then one that is beside the point.

    `named`: every slot is filled with the failed task's own names, as writers do who do not generalise; else the sentences stay as the
    grammar makes them, mostly with slots.
    """
    rng = random.Random(f"advice {seed}")
    written: list[Hint] = []
    said: dict[tuple[str, str], set[str]] = defaultdict(set)
    for number, failure in enumerate(lost):
        habits: list[str | None] = sorted(rng.choice(failure.mends))
        if rng.random() < _ASIDE:
            habits.append(rng.choice([*failure.attempt.relevant, None]))
        for habit in habits:
            text = _phrase(rng, failure.task.env, habit)
            if named:
                text = _fill(text, failure.attempt.names)
            source = Writing(source=f"failure-{number}", text=text, writer="grammar", task=failure.task.key)
            written.append(hint_of([source], text, kind=failure.task.kind, env=failure.task.env))
            said[failure.task.kind, normalise(text)].update([habit] if habit else [])
    bank = build_bank(written)
    return LabelledBank(
        bank=bank,
        habits={
            hint.id: frozenset().union(*(said[hint.kind, normalise(w.text)] for w in hint.writings))
            for hint in bank.hints
        },
        tasks={hint.id: frozenset(hint.tasks) for hint in bank.hints},
    )


def _phrase(rng: random.Random, env: str, habit: str | None) -> str:
    if env == "webshop":
        return shop_advice.phrase(rng, ShopHabit(habit) if habit else None)
    return house_advice.phrase(rng, Habit(habit) if habit else None)


def _fill(text: str, names: tuple[str, str]) -> str:
    return _SLOT.sub(lambda slot: names[0] if slot[1] in _THINGS else names[1], text)
