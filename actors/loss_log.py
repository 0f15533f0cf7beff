"""Lost attempts in the log: one line for all that one fault cost, not one each. A killed engine takes every episode in flight with it."""

import asyncio
import logging
from dataclasses import dataclass

log = logging.getLogger(__name__)

_KINDS = 64
"""Lines at a time: a reason that names its episode would fill the log, and memory, with one line each."""


@dataclass(slots=True)
class _Losses:
    example: str
    attempts: int = 0
    given_up: int = 0


class LossLog:
    """Gathers losses of the same host for the same reason, and warns of them every few seconds while there are any."""

    def __init__(self, every_s: float = 3.0) -> None:
        self._every_s = every_s
        self._held: dict[tuple[str, str], _Losses] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, host: str, reason: str, task_key: str, *, given_up: bool) -> None:
        if (host, reason) not in self._held and len(self._held) >= _KINDS:
            host, reason = "hosts", "other reasons"
        losses = self._held.setdefault((host, reason), _Losses(example=task_key))
        losses.attempts += 1
        losses.given_up += given_up
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self.flush)

    def flush(self) -> None:
        """Warn of what is held now; at the end of a run nothing may stay unsaid."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for (host, reason), losses in self._held.items():
            log.warning(
                "%s lost %d attempt%s%s, such as %s: %s",
                host,
                losses.attempts,
                "" if losses.attempts == 1 else "s",
                f" ({losses.given_up} given up)" if losses.given_up else "",
                losses.example,
                reason,
            )
        self._held.clear()
