"""The contract of a text environment. Step limits, token limits and seeds per episode belong to the caller."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from envs.task import Task


class EnvError(RuntimeError):
    """An environment cannot do its work (missing game, corrupt data, dead backend); the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What came back from the world after a reset or one action."""

    observation: str
    """What the agent reads. After a reset: the opening, goal included."""
    score: float
    """In [0, 1], the episode's score so far."""
    success: bool
    done: bool
    """The world ended the episode (never a step limit)."""
    admissible: tuple[str, ...] = ()
    """Actions that the world accepts now, sorted; () where the world does not list them."""
    valid: bool = True
    """False where the world did not understand or allow the action."""
    executed: str | None = None
    """The action as the world executed it, when the dialect rewrote what the agent said; else None."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What the score is made of, where the world tells it (WebShop: `r_type`, `r_att`, ...); flags are 0 and 1."""


class TextEnv(Protocol):
    """One instance plays one episode at a time. Not required to be thread-safe; `close` may be called twice."""

    def reset(self, task: Task, *, seed: int) -> StepResult: ...

    def step(self, action: str) -> StepResult: ...

    def close(self) -> None: ...
