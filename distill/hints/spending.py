"""What a folder's requests have cost and may yet cost, to the picodollar, and whether the next one may leave.

A request is on disk before it leaves. One whose answer is kept costs what the answer says; one that the server refused costs nothing; of
every other one (time ran out, the connection broke, the process was killed) nobody here knows whether it was billed, so its worst case is
held for good. What the server bills is therefore never more than `known + held`, and that never passes the limit.
"""

import enum
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from distill.hints.call_cache import Call, append_line, journal

PICO = 10**12
"""Money is counted in whole picodollars: sums of float dollars drift."""


def pico(usd: float) -> int:
    return round(usd * PICO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Picodollars for a token."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> int:
        """Picodollars; `cached_tokens` are among `prompt_tokens`."""
        return (
            self.prompt * (prompt_tokens - cached_tokens)
            + self.cached * cached_tokens
            + self.completion * completion_tokens
        )


class Leave(enum.Enum):
    """Whether a request may leave."""

    NOW = "now"
    LATER = "later"
    """Perhaps, when requests in flight have told what they really cost."""
    NEVER = "never"
    """The money does not reach for it."""


class Spending:
    """The ledger of one folder. Decides and writes down; waiting is its callers' part."""

    def __init__(self, path: Path, limit_usd: float | None, answered: Iterable[Call] = ()):
        """`answered`: the replies that the folder keeps."""
        self._path = path
        self.limit_usd = limit_usd
        self._limit = None if limit_usd is None else pico(limit_usd)
        self._known = 0
        self._in_flight: dict[str, int] = {}
        self._sent: set[str] = set()
        self._held: dict[str, int] = {}
        for record in journal(path):
            if "worst_usd" in record:
                self._sent.add(record["request"])
                self._held[record["request"]] = pico(record["worst_usd"])
            else:
                self._held.pop(record["request"], None)
        for call in answered:
            self.keep(call)

    @property
    def known(self) -> int:
        """Picodollars, of the replies that are kept."""
        return self._known

    @property
    def held(self) -> int:
        """Picodollars, at most, of requests that may have been billed and whose answer never came."""
        return sum(self._held.values())

    @property
    def num_held(self) -> int:
        return len(self._held)

    @property
    def num_sent(self) -> int:
        return len(self._sent)

    def may_leave(self, worst: int) -> Leave:
        if self._limit is None:
            return Leave.NOW
        spent = self._known + self.held + worst
        if spent > self._limit:
            return Leave.NEVER
        return Leave.LATER if spent + sum(self._in_flight.values()) > self._limit else Leave.NOW

    def reserve(self, worst: int, request: str | None = None) -> str:
        """Put money aside for a request and return its id; whether there is enough is for `may_leave` to say."""
        request = request or uuid.uuid4().hex
        self._held.pop(request, None)
        self._in_flight[request] = worst
        return request

    def send(self, request: str) -> None:
        """The request leaves after this, and not before."""
        if request not in self._sent:
            append_line(self._path, {"request": request, "worst_usd": self._in_flight[request] / PICO})
            self._sent.add(request)

    def worst(self, request: str) -> int:
        return self._in_flight[request]

    def keep(self, call: Call) -> None:
        """The request was answered, and the answer is on disk."""
        self._in_flight.pop(call.request, None)
        self._held.pop(call.request, None)
        self._known += pico(call.usd)

    def release(self, request: str) -> None:
        """The request was never sent, or refused by a server that bills nothing for it."""
        self._in_flight.pop(request)
        if request in self._sent:
            append_line(self._path, {"request": request, "billed": False})

    def hold(self, request: str) -> None:
        """Nobody knows whether the request was billed."""
        self._held[request] = self._in_flight.pop(request)
