"""What goes between the driver and its hosts beside episodes: who the engines are one way, signs of life the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.player import Ended, Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The engines of the moment."""

    version: int = 0
    engines: Mapping[str, str] = field(default_factory=dict)
    """Actors' names by what the driver calls them: handles would lie in the object store, and a host that Ray starts again on
    another node would not find them there."""
    draining: frozenset[str] = frozenset()
    """Of these, those that keep their sessions and take no new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPulse:
    """How a host stands. Counters since its process started."""

    node: str
    """Id of the machine that it runs on."""
    membership: int
    """Version of the engines that it knows."""
    turns: int
    ended: int
    """Attempts that are over, lost ones included."""
    playing: int
    """Episodes between their first model call and their end; those that wait for the disk do not count."""
    held_tokens: Mapping[str, int]
    """By engine: prompts and replies of the episodes that play there."""
    unreachable: tuple[str, ...] = ()
    """Engines whose line was cut and that have not answered since."""

    @property
    def steps(self) -> int:
        """Grows while the host works."""
        return self.turns + self.ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One attempt, as its host tells it."""

    outcome: Ended | Lost
    tokens: int
    """That the episode came to: its last prompt and reply; 0 where there was no turn."""
    unreachable: tuple[str, ...] = ()
    """See `HostPulse`. Told at once, since an engine that is dead has room and would be sent the next ones."""
