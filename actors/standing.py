"""Where a rollout stands, as counters: what one line says of it, and what other processes read in its folder. Knows no files."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

VERSION = 1
_WINDOW_S = 600.0
"""Rates are of the last ten minutes: of the whole run they would speak of a start that is long over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What came in the last `seconds`."""

    seconds: float = 0.0
    episodes: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def per_second(self, amount: float) -> float | None:
        return amount / self.seconds if self.seconds > 0 else None

    @property
    def episodes_per_hour(self) -> float | None:
        rate = self.per_second(self.episodes)
        return None if rate is None else rate * 3600

    @property
    def cache_share(self) -> float | None:
        """Of prompt tokens, those that the prefix cache served."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Times are Unix times. `ended` and all below it are of this start; `before` had ended at earlier ones."""

    name: str
    asked: int
    before: int
    ended: int = 0
    successes: int = 0
    errors: int = 0
    retries: int = 0
    in_flight: int = 0
    turns: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    losses: Mapping[str, int] = field(default_factory=dict)
    """Lost attempts by their reason, numbers in it left out."""
    recent: Recent = Recent()
    began: float = 0.0
    updated: float = 0.0
    last_ended: float | None = None

    @property
    def done(self) -> int:
        return self.before + self.ended

    @property
    def owed(self) -> int:
        return self.asked - self.done

    @property
    def remaining_s(self) -> float | None:
        """At the recent rate; None where nothing has ended yet."""
        rate = self.recent.per_second(self.recent.episodes)
        if not self.owed:
            return 0.0
        return self.owed / rate if rate else None

    def to_json(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Standing":
        """Raises `KeyError`, `TypeError` or `ValueError` for what is none. Fields of a later version are passed over."""
        known = {f.name for f in fields(cls)} & document.keys()
        recent = {f.name for f in fields(Recent)} & dict(document.get("recent", {})).keys()
        return cls(
            **{name: document[name] for name in known if name != "recent"},
            recent=Recent(**{name: document["recent"][name] for name in recent}),
        )


class Window:
    """Counters of the last minutes, from readings of totals now and then."""

    def __init__(self, window_s: float = _WINDOW_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s, self._clock = window_s, clock
        self._readings: deque[tuple[float, tuple[int, ...]]] = deque()

    def read(self, *totals: int) -> Recent:
        """`totals` in the order of `Recent`'s counters."""
        now = self._clock()
        self._readings.append((now, totals))
        # One reading older than the window stays, so that it is never shorter than what it says.
        while len(self._readings) > 2 and self._readings[1][0] <= now - self._window_s:
            self._readings.popleft()
        then, before = self._readings[0]
        return _recent(now - then, totals, before)


def _recent(seconds: float, totals: tuple[int, ...], before: tuple[int, ...]) -> Recent:
    names = [f.name for f in fields(Recent)][1:]
    grown = (after - earlier for after, earlier in zip(totals, before, strict=True))
    return Recent(seconds=round(seconds, 3), **dict(zip(names, grown, strict=True)))
