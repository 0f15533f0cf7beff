"""The environments for Gymnasium: `gymnasium.make("offbook/ALFWorld-v0", games="data/alfworld")` and
`gymnasium.make("offbook/WebShop-v0", catalogue="data/webshop")`.

`import envs.gym` makes the names known; so does `gymnasium.make("envs.gym:offbook/ALFWorld-v0", ...)` by itself.
"""

import string
from typing import Any, Literal

import gymnasium

from envs.base import EnvError, StepResult
from envs.config import AlfworldConfig, EnvConfig, WebshopConfig
from envs.gym_plugin import register_envs
from envs.registry import list_tasks, open_env

_CHARSET = string.printable
_LONGEST_OBSERVATION = 65_536
_LONGEST_ACTION = 512


class AnyText(gymnasium.spaces.Text):
    """Text in any script: shops write in all of them. Samples are ASCII."""

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length


class TextGymEnv(gymnasium.Env[str, str]):
    """Text in, text out. Reward is the gain in score. Nothing truncates an episode but `max_episode_steps` of `make`.

    `info` holds `task` (id), `kind`, `goal`, `admissible_commands`, `score`, `success`, `valid`, `executed` (the command as understood,
    where the world rewrote it) and `parts` (what the score is made of, where the world tells).
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        config: EnvConfig,
        source: str,
        task: str | None,
        split: Literal["train", "dev", "test"] | None,
        render_mode: str | None,
    ) -> None:
        """Without `task` every reset draws one of `split` (of all, where None) with the seeded generator; `source` is named in errors."""
        self.observation_space = AnyText(_LONGEST_OBSERVATION, min_length=0, charset=_CHARSET)
        self.action_space = AnyText(_LONGEST_ACTION, min_length=0, charset=_CHARSET)
        self.render_mode = render_mode
        self._tasks = {known.id: known for known in list_tasks(config, split)}
        self._ids = sorted(self._tasks)
        if not self._ids:
            raise EnvError(f"{source} holds no task of split {split!r}")
        if task is not None:
            self._require(task)
        self._fixed = task
        self._env = open_env(config)
        self._task = self._tasks[self._ids[0]]
        self._score = 0.0
        self._shown = ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """`options={"task": id}` plays that task this once."""
        super().reset(seed=seed)
        chosen = (options or {}).get("task", self._fixed)
        if chosen is None:
            chosen = self._ids[int(self.np_random.integers(len(self._ids)))]
        self._require(chosen)
        self._task = self._tasks[chosen]
        result = self._env.reset(self._task, seed=seed or 0)
        self._score = result.score
        self._shown = result.observation
        return result.observation, self._info(result)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        result = self._env.step(action)
        reward, self._score = result.score - self._score, result.score
        self._shown = result.observation
        return result.observation, reward, result.done, False, self._info(result)

    def render(self) -> str | None:
        """What was seen last, in mode "ansi"."""
        return self._shown if self.render_mode == "ansi" else None

    def close(self) -> None:
        self._env.close()

    def _require(self, task: str) -> None:
        if task not in self._tasks:
            raise EnvError(f"no task {task!r} among the {len(self._ids)} at hand; one is {self._ids[0]!r}")

    def _info(self, result: StepResult) -> dict[str, Any]:
        return {
            "task": self._task.id,
            "kind": self._task.kind,
            "goal": self._task.goal,
            "admissible_commands": list(result.admissible),
            "score": result.score,
            "success": result.success,
            "valid": result.valid,
            "executed": result.executed,
            "parts": dict(result.parts),
        }


class AlfworldGymEnv(TextGymEnv):
    """ALFWorld; the reward is 1 at the step that wins."""

    def __init__(
        self,
        games: str,
        task: str | None = None,
        split: Literal["train", "dev", "test"] | None = None,
        *,
        backend: Literal["native", "textworld"] = "native",
        view: Literal["agent", "original"] = "agent",
        accept_put: bool = True,
        render_mode: str | None = None,
    ) -> None:
        config = AlfworldConfig(games=games, backend=backend, view=view, accept_put=accept_put)
        super().__init__(config, games, task, split, render_mode)


class WebshopGymEnv(TextGymEnv):
    """WebShop; the reward is the purchase's, its parts are in `info["parts"]`."""

    def __init__(
        self,
        catalogue: str,
        task: str | None = None,
        split: Literal["train", "dev", "test"] | None = None,
        *,
        goals: Literal["human", "synthetic"] = "human",
        protocol: Literal["original", "fixed"] = "original",
        view: Literal["compact", "text", "text_rich"] = "compact",
        results_shown: int = 3,
        render_mode: str | None = None,
    ) -> None:
        config = WebshopConfig(
            catalogue=catalogue, goals=goals, protocol=protocol, view=view, results_shown=results_shown
        )
        super().__init__(config, catalogue, task, split, render_mode)


register_envs()
