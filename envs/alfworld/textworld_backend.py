"""ALFWorld as its authors play it, through TextWorld: slow, one game at a time, and the judge of our own engine.

Needs the extra `alfworld`. TextWorld keeps module-wide state that breaks under threads, so one lock guards all of it.
"""

import tempfile
import threading
from pathlib import Path
from typing import Any

from envs.alfworld.env import understand_put
from envs.alfworld.gamefile import compose_game_file, find_logic
from envs.alfworld.index import open_index
from envs.alfworld.world import BANNER, NOTHING_HAPPENS
from envs.base import EnvError, StepResult
from envs.config import AlfworldConfig
from envs.task import Task

_ONE_AT_A_TIME = threading.Lock()


class TextWorldEnv:
    """The contract of a text environment around the original `PddlEnv`. Keeps one original and loads games into it: each new one leaks megabytes."""

    def __init__(self, config: AlfworldConfig) -> None:
        self._config = config
        self._index = open_index(config.games, skip_bad=config.skip_bad)
        self._original = _original_env()
        self._folder = tempfile.TemporaryDirectory(prefix="offbook-textworld-")
        self._loaded: str | None = None
        self._state: Any = None

    def reset(self, task: Task, *, seed: int) -> StepResult:
        """The world is deterministic: `seed` changes nothing."""
        with _ONE_AT_A_TIME:
            if self._loaded != task.id:
                self._loaded = None
                self._original.load(str(self._game_file(task.id)))
                self._loaded = task.id
            self._state = self._original.reset()
        opening = self._state.feedback
        return self._result(
            opening if self._config.view == "original" else opening.removeprefix(BANNER), True, None
        )

    def step(self, action: str) -> StepResult:
        if self._state is None:
            raise EnvError("step before reset: no game is being played")
        executed = None
        if self._config.accept_put and action.strip() not in self._state["admissible_commands"]:
            executed = understand_put(action)
        with _ONE_AT_A_TIME:
            self._state, _, _ = self._original.step(action if executed is None else executed)
        return self._result(self._state.feedback, self._state.feedback != NOTHING_HAPPENS, executed)

    def close(self) -> None:
        self._state = None
        self._loaded = None
        self._folder.cleanup()

    def _game_file(self, path: str) -> Path:
        file = Path(self._folder.name, "game.tw-pddl")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(compose_game_file(self._index.row(path), find_logic(Path(self._config.games))))
        return file

    def _result(self, observation: str, valid: bool, executed: str | None) -> StepResult:
        won = bool(self._state["won"])
        return StepResult(
            observation=observation,
            score=float(won),
            success=won,
            done=won,
            admissible=tuple(self._state["admissible_commands"]),
            valid=valid,
            executed=executed,
        )


def _original_env() -> Any:
    try:
        import textworld
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        from textworld.envs.pddl import PddlEnv
    except ImportError as error:
        raise EnvError(
            f"backend 'textworld' needs the extra `alfworld` ({error}): pip install 'offbook[alfworld]'"
        ) from None
    with _ONE_AT_A_TIME:
        wanted = textworld.EnvInfos(won=True, lost=True, admissible_commands=True)
        return AlfredDemangler(PddlEnv(wanted))
