"""The engine's end of the lines to its hosts: requests come in batches, replies leave in batches. Knows neither Ray nor weights.

A host that died is noticed by its silence: its requests are dropped and its replies thrown away.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from actors.chat import GenerateError
from actors.wire import Answer, Delivery, Reply, Request

log = logging.getLogger(__name__)


MOST_OPEN = 4096
"""Calls of one line that run or lie answered. An episode has one call open, so this is far above any host's slots: a line that goes
beyond it has stopped collecting, and would fill the engine's memory."""


@dataclass(slots=True)
class _Box:
    """What one line waits for; `running` and `finished` together hold at most `MOST_OPEN`."""

    running: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    finished: list[Reply] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    collectors: int = 0
    last_heard: float = 0.0


class Mailbox:
    """`answer` may raise `GenerateError`; the line's other end raises it."""

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Answer]],
        *,
        poll_s: float = 10.0,
        forget_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`poll_s`: a collector waits at most so long; `forget_s`: a line that is silent for longer is given up."""
        self._answer, self._poll_s, self._forget_s, self._clock = answer, poll_s, forget_s, clock
        self._boot = uuid.uuid4().hex
        self._boxes: dict[str, _Box] = {}

    @property
    def lines(self) -> int:
        return len(self._boxes)

    def post(self, line: str, requests: Sequence[Request], dropped: Sequence[int]) -> str:
        """Take requests in, and stop those that nobody waits for any more. Returns at once."""
        self._forget_silent()
        box = self._box(line)
        self._drop(box, dropped)
        for request in requests:
            if len(box.running) + len(box.finished) >= MOST_OPEN:
                raise GenerateError(
                    f"the engine holds {MOST_OPEN} calls of this line, which does not collect their answers",
                    retryable=True,
                )
            task = asyncio.get_running_loop().create_task(self._serve(box, request))
            box.running[request.number] = task
        return self._boot

    async def collect(self, line: str) -> Delivery:
        """All replies that are ready, as soon as there is one; none after `poll_s`."""
        self._forget_silent()
        box = self._box(line)
        box.collectors += 1
        try:
            if not box.finished:
                with suppress(TimeoutError):
                    await asyncio.wait_for(box.filled.wait(), self._poll_s)
        finally:
            box.collectors -= 1
            box.last_heard = self._clock()
        replies, box.finished = tuple(box.finished), []
        box.filled.clear()
        return Delivery(boot=self._boot, replies=replies)

    def _drop(self, box: _Box, numbers: Sequence[int]) -> None:
        for number in numbers:
            if task := box.running.pop(number, None):
                task.cancel()
        # Those that were answered meanwhile: their line waits for them no more.
        if numbers and box.finished:
            gone = set(numbers)
            box.finished = [reply for reply in box.finished if reply.number not in gone]

    async def _serve(self, box: _Box, request: Request) -> None:
        try:
            reply = Reply(number=request.number, answer=await self._answer(request))
        except GenerateError as error:
            reply = Reply(number=request.number, error=error)
        except Exception as error:  # somebody waits for this number: silence would cost the turn's time limit
            log.exception("request %d failed", request.number)
            reply = Reply(number=request.number, error=GenerateError(f"the engine failed: {error!r}"))
        if box.running.pop(request.number, None):
            box.finished.append(reply)
            # Wakes the collector one turn of the event loop later: what the same engine step finished leaves with it.
            box.filled.set()

    def _box(self, line: str) -> _Box:
        box = self._boxes.setdefault(line, _Box())
        box.last_heard = self._clock()
        return box

    def _forget_silent(self) -> None:
        until = self._clock() - self._forget_s
        for line, box in list(self._boxes.items()):
            if not box.collectors and box.last_heard < until:
                for task in box.running.values():
                    task.cancel()
                del self._boxes[line]
