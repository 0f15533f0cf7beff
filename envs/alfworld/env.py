"""ALFWorld behind the contract of a text environment. Knows files and players; the rules of the world are in `world`."""

import re
from collections.abc import Sequence
from pathlib import Path

from envs.alfworld.gamefile import DIALECT
from envs.alfworld.index import open_index
from envs.alfworld.world import BANNER, World
from envs.base import EnvError, StepResult, TextEnv
from envs.config import AlfworldConfig, HouseholdsConfig
from envs.task import Task

_PUT = re.compile(r"put\s+(\S.*?)\s+(?:in/on|into|onto|inside|in|on|to)\s+(\S.*)", re.IGNORECASE)


def open_env(config: AlfworldConfig) -> TextEnv:
    if config.backend == "textworld":
        from envs.alfworld.textworld_backend import TextWorldEnv

        return TextWorldEnv(config)
    return AlfworldEnv(config)


def list_tasks(config: AlfworldConfig, split: str | None = None) -> list[Task]:
    index = open_index(config.games, skip_bad=config.skip_bad)
    return [index.task(path) for path in index.paths(split)]


def content_hashes(config: AlfworldConfig, tasks: Sequence[Task]) -> list[str]:
    """For a game of the release the SHA-256 of its `game.tw-pddl` (composed again where the data is compact), else of its facts.

    Raises:
        EnvError: games of `tasks` are not there; the message counts them.
    """
    index = open_index(config.games, skip_bad=config.skip_bad)
    held = set(index.paths())
    missing = [task.id for task in tasks if task.id not in held]
    if missing:
        raise EnvError(
            f"{config.games} lacks {len(missing)} of {len(tasks)} games, first {missing[0]}; fetch the whole release (`offbook data fetch alfworld`)"
        )
    return [index.content_hash(task.id) for task in tasks]


def gold_plan(config: AlfworldConfig, task: Task) -> tuple[str, ...]:
    """The walkthrough that the game's file holds."""
    plan = open_index(config.games, skip_bad=config.skip_bad).row(task.id).walkthrough
    if not plan:
        raise EnvError(
            f"game {task.id} of {config.games} comes without a walkthrough, so it has no gold plan"
        )
    return plan


def dialect(config: AlfworldConfig) -> str:
    """`move`, whatever the files say: an older copy's `put X in/on Y` is played as `move X to Y` too."""
    return DIALECT


def generate(settings: HouseholdsConfig, folder: Path) -> None:
    from envs.alfworld.generate import generate_splits

    generate_splits(folder, **settings.model_dump(exclude={"make"}))


def understand_put(action: str) -> str | None:
    """`put X in/on Y` said in the words of today, or None where `action` is something else."""
    found = _PUT.fullmatch(action.strip())
    return f"move {found[1]} to {found[2]}" if found else None


class AlfworldEnv:
    """One player; many may share a process and its games."""

    def __init__(self, config: AlfworldConfig) -> None:
        self._config = config
        self._index = open_index(config.games, skip_bad=config.skip_bad)
        self._world: World | None = None

    def reset(self, task: Task, *, seed: int) -> StepResult:
        """The world is deterministic: `seed` changes nothing."""
        self._world = world = World(self._index.game(task.id))
        opening = world.reset()
        return self._result(
            world, opening if self._config.view == "original" else opening.removeprefix(BANNER), None
        )

    def step(self, action: str) -> StepResult:
        world = self._world
        if world is None:
            raise EnvError("step before reset: no game is being played")
        executed = None
        if self._config.accept_put and action.strip() not in world.admissible:
            executed = understand_put(action)
        feedback = world.step(action if executed is None else executed)
        return self._result(world, feedback, executed)

    def close(self) -> None:
        self._world = None

    def _result(self, world: World, observation: str, executed: str | None) -> StepResult:
        return StepResult(
            observation=observation,
            score=float(world.score),
            success=world.done,
            done=world.done,
            admissible=world.admissible,
            valid=world.valid,
            executed=executed,
        )
