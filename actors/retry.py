"""What to do with a lost episode, and with a request that failed. Decisions only: others carry them out."""

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try afresh after a pause."""

    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Record it as an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    max_retries: int
    max_outages: int
    base_delay_s: float = 0.2
    max_delay_s: float = 10.0

    def decide(self, *, lost: int, outages: int = 0, retryable: bool) -> Again | GiveUp:
        """`lost` counts the attempts lost so far, this one included; `outages` those of them that an outage took, which says little of the episode."""
        if not retryable or lost - outages > self.max_retries or outages > self.max_outages:
            return GiveUp()
        return Again(delay_s=min(self.max_delay_s, self.base_delay_s * 2 ** (lost - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses between the tries of one request."""

    max_attempts: int
    base_delay_s: float = 0.5
    max_delay_s: float = 20.0
    jitter: random.Random = field(default_factory=random.Random, compare=False)

    def decide(
        self, *, attempt: int, retryable: bool, asked_s: float | None, remaining_s: float
    ) -> Again | GiveUp:
        """After the try number `attempt`, from 1. `asked_s`: the pause that the server wishes for; `remaining_s`: what the call has left."""
        if not retryable or attempt >= self.max_attempts:
            return GiveUp()
        # Full jitter, so that many callers do not come back together; a server's own wish is the least.
        ceiling = min(self.max_delay_s, self.base_delay_s * 2 ** min(attempt - 1, 30))
        delay = (asked_s or 0.0) + self.jitter.uniform(0, ceiling)
        return Again(delay_s=delay) if delay < remaining_s else GiveUp()


class Breaker:
    """Opens when episode after episode ends in an error and none in between succeeds: the fault is then not the episode's,
    and playing on would only turn every task into an error."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_a_row = 0

    def record(self, *, error: bool) -> bool:
        """Note one ended episode; True when the run should stop."""
        self._in_a_row = self._in_a_row + 1 if error else 0
        return self._in_a_row >= self._limit
