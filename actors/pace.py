"""How much may start in a minute. Decisions only: whoever asks does the waiting."""

import time
from collections.abc import Callable


class Pace:
    """A bucket that holds one portion and fills evenly: each portion starts when the one before it has been worked off.

    So a minute starts no more than `per_minute` after its first portion, in whatever order and from however many callers they come.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_each = 60 / per_minute
        self._clock = clock
        self._free_at = clock()

    def take(self, amount: float = 1) -> float:
        """Seconds from now after which `amount` may start; its place is taken with the question."""
        now = self._clock()
        start = max(now, self._free_at)
        self._free_at = start + amount * self._seconds_each
        return start - now

    def correct(self, amount: float) -> None:
        """`amount` more was used than was taken, or less where it is negative; those that come later feel it."""
        self._free_at += amount * self._seconds_each
