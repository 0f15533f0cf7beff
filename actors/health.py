"""Whether something that is busy still works: by what it gets done, not by whether it answers. Decisions only."""

import time
from collections.abc import Callable


class Heartbeat:
    """A counter that must grow while there is work, such as tokens drawn or turns played."""

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience_s, self._clock = patience_s, clock
        self._count = 0
        self._grew_at = clock()

    def note(self, count: int, *, busy: bool) -> bool:
        """False: it has been busy for longer than the patience and nothing came of it."""
        # A count that fell says that work was given up, or that the process is another one: no proof of life by itself.
        if count > self._count or not busy:
            self._grew_at = self._clock()
        self._count = count
        return self.silent_s <= self.patience_s

    @property
    def silent_s(self) -> float:
        return self._clock() - self._grew_at

    def restart(self) -> None:
        """The process is another one from here on."""
        self._count, self._grew_at = 0, self._clock()
