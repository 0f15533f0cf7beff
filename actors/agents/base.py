"""What an agent is: a way to write the prompt and to read the reply. Knows neither model nor world."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.chat import Message
from actors.trajectory import GivenHint, Turn
from envs.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a reply says. Parsing never raises; a reply that says nothing has neither thought nor action."""

    reply: str
    """The reply as it is kept in the prompt (stripped, cut at the first line where the grammar wants one line)."""
    fields: tuple[tuple[str, str], ...] = ()
    action: str | None = None
    answer: str | None = None
    """The observation for a turn that does not reach the world, such as "OK." after a thought; None when `action` is set."""


class Agent(Protocol):
    """Append-only: the messages of turn n are a prefix of those of turn n+1, and with `hints=()` the same call renders the student's
    training rows and the prompts that it is evaluated with."""

    @property
    def name(self) -> str:
        """Identity for records: the agent and a short hash of its prompt text, such as "react-3f2a91"."""
        ...

    @property
    def stop(self) -> tuple[str, ...]:
        """Where a reply ends."""
        ...

    def render(
        self, task: Task, opening: str, turns: Sequence[Turn], hints: Sequence[GivenHint]
    ) -> tuple[Message, ...]: ...

    def parse(self, reply: str) -> Parsed: ...
