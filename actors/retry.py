"""What to do with a lost episode. Decisions only: the rollout carries them out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Start the episode afresh after a pause."""

    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Record the episode as an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    max_retries: int
    base_delay_s: float = 0.2
    max_delay_s: float = 10.0

    def decide(self, *, lost: int, retryable: bool) -> Again | GiveUp:
        """`lost` counts the attempts lost so far, this one included."""
        if not retryable or lost > self.max_retries:
            return GiveUp()
        return Again(delay_s=min(self.max_delay_s, self.base_delay_s * 2 ** (lost - 1)))


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
