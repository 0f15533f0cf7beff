"""Places that episodes wait for: at engines by their tokens, at hosts by their number. Asyncio around `Admission`; knows no Ray."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from actors.admission import Admission
from actors.routing import Policy, Router


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    session: str
    at: str
    """Whose it is: an engine's or a host's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiter:
    expected: Callable[[], int | None]
    avoid: str | None
    future: "asyncio.Future[Seat]"


class Seats:
    """First come, first served. Belongs to one event loop."""

    def __init__(self, cap: int, policy: Policy | None = None) -> None:
        """`cap`: at one of them, where it does not say how many tokens it holds."""
        self._router = Router(policy=policy)
        self._admission = Admission(self._router, cap=cap)
        self._waiting: deque[_Waiter] = deque()
        self._numbers = itertools.count()
        self._reports: dict[str, Mapping[str, int]] = {}
        self._held: dict[str, int] = {}

    async def take(self, expected: Callable[[], int | None] = lambda: None, avoid: str | None = None) -> Seat:
        """`expected`: tokens that the episode will come to, asked again whenever there may be room."""
        if not self._waiting and (seat := self._seated(expected, avoid)):
            return seat
        waiter = _Waiter(expected=expected, avoid=avoid, future=asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self.give_back(waiter.future.result())
            raise

    def give_back(self, seat: Seat) -> None:
        self._admission.end(seat.session)
        self._serve()

    def join(self, name: str, capacity_tokens: int | None = None) -> None:
        self._admission.add(name, capacity_tokens)
        self._serve()

    def leave(self, name: str) -> None:
        self._admission.remove(name)
        self._held.pop(name, None)

    def drain(self, name: str) -> None:
        self._router.drain(name)

    def mark_dead(self, name: str) -> None:
        self._router.mark_dead(name)

    def mark_alive(self, name: str) -> None:
        self._router.mark_alive(name)
        self._serve()

    def note_held(self, reporter: str, tokens: Mapping[str, int]) -> None:
        """What the sessions of one host hold at each engine by now; replaces what it said before."""
        before = self._reports.get(reporter, {})
        self._reports[reporter] = tokens
        for name in before.keys() | tokens.keys():
            total = self._held.get(name, 0) + tokens.get(name, 0) - before.get(name, 0)
            self._held[name] = total
            self._admission.note_held(name, total)
        self._serve()

    def taken(self, name: str) -> int:
        return self._router.sessions(name)

    @property
    def open(self) -> int:
        """How many take new sessions."""
        return self._router.num_open

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _serve(self) -> None:
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.future.done():
                seat = self._seated(waiter.expected, waiter.avoid)
                if seat is None:
                    return
                waiter.future.set_result(seat)
            self._waiting.popleft()

    def _seated(self, expected: Callable[[], int | None], avoid: str | None) -> Seat | None:
        session = str(next(self._numbers))
        at = self._admission.admit(session, expected(), avoid)
        return None if at is None else Seat(session=session, at=at)
