"""Keeps up a number of processes that come and go with the nodes of a cluster. Knows neither Ray nor what they do."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 60.0


class CrewMember(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def retiring(self) -> bool:
        """It finishes what it has, and another one takes its place."""
        ...

    async def live(self) -> None:
        """Returns when it has left for good; raises when it could not begin or is lost. May be called again after it was cancelled."""
        ...

    def close(self) -> None: ...


M = TypeVar("M", bound=CrewMember)


class Crew(Generic[M]):
    """`wanted` members that do not retire. Those that no node has room for wait for one: recruiting is asking, not getting."""

    def __init__(self, wanted: int, recruit: Callable[[int], M], *, pause_s: float = 1.0) -> None:
        """`recruit` is given a number that no other member ever has; `pause_s`: after a failed start, doubled with each in a row."""
        self.members: list[M] = []
        self._wanted, self._recruit, self._pause_s = wanted, recruit, pause_s
        self._recruited, self._failures, self._not_before = 0, 0, 0.0
        self._began: dict[str, float] = {}

    def fill(self) -> None:
        while time.monotonic() >= self._not_before and self._missing() > 0:
            member = self._recruit(self._recruited)
            self.members.append(member)
            self._began[member.name] = time.monotonic()
            self._recruited += 1

    async def run(self, look_every_s: float = 1.0) -> None:
        """Until cancelled; members outlive it."""
        tasks: dict[asyncio.Task[None], M] = {}
        try:
            while True:
                self.fill()
                minded = set(map(id, tasks.values()))
                for member in self.members:
                    if id(member) not in minded:
                        tasks[asyncio.create_task(member.live())] = member
                if not tasks:
                    await asyncio.sleep(look_every_s)
                    continue
                done, _ = await asyncio.wait(tasks, timeout=look_every_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self.dismiss(tasks.pop(task), task.exception())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def dismiss(self, member: M, error: BaseException | None = None) -> None:
        if error is None:
            self._failures = 0
        else:
            lived_s = time.monotonic() - self._began.get(member.name, 0.0)
            self._failures = 1 if lived_s > _LONGEST_PAUSE_S else self._failures + 1
            pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2 ** min(self._failures - 1, 20))
            self._not_before = time.monotonic() + pause_s
            log.warning("%s is lost, another one starts in %.0f s: %s", member.name, pause_s, error)
        self.members.remove(member)
        self._began.pop(member.name, None)
        member.close()

    def close(self) -> None:
        for member in self.members:
            member.close()
        self.members.clear()

    def _missing(self) -> int:
        return self._wanted - sum(not member.retiring for member in self.members)
