"""A host's end of its line to one engine: calls of one turn of the event loop leave together, answers come back together.

Knows neither Ray nor chats; what carries the line is a `Port`.
"""

import asyncio
import itertools
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from actors.chat import GenerateError, Sampling
from actors.wire import Answer, Delivery, Reply, Request


class LineCutError(RuntimeError):
    """The engine at the other end is gone, and all that it was asked with it."""


class Port(Protocol):
    """How an engine is reached. Each raises `LineCutError` when its process is gone and `GenerateError` when it failed but lives."""

    async def post(self, line: str, requests: Sequence[Request], dropped: Sequence[int]) -> str:
        """Returns the engine's boot; see `Delivery`."""
        ...

    async def collect(self, line: str) -> Delivery: ...

    async def tokenizer(self) -> Any:
        """The engine's own, so that both ends read alike wherever the checkpoint lies."""
        ...

    async def wait_alive(self) -> None: ...


class Line:
    """Lives as long as the engine's process; once cut it stays cut. Waits for nothing itself: its caller's time limit holds."""

    def __init__(self, port: Port) -> None:
        self._port, self._name = port, uuid.uuid4().hex
        self._numbers = itertools.count()
        # One for each caller that waits, so no more than the host has slots; the two lists are emptied at every turn of the event loop.
        self._open: dict[int, asyncio.Future[Answer]] = {}
        self._unsent: list[Request] = []
        self._dropped: list[int] = []
        self._flush_is_due = self._collects = False
        self._boot: str | None = None
        self._cut: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(self, prompt_ids: list[int], sampling: Sampling, adapter: str | None) -> Answer:
        """Raises `LineCutError`, and `GenerateError` for a call that failed alone. A cancelled call is stopped in the engine."""
        if self._cut is not None:
            raise LineCutError(self._cut)
        number = next(self._numbers)
        future = self._open[number] = asyncio.get_running_loop().create_future()
        self._unsent.append(Request(number=number, prompt_ids=prompt_ids, sampling=sampling, adapter=adapter))
        self._flush_soon()
        try:
            return await future
        except asyncio.CancelledError:
            self._drop(number)
            raise

    def _drop(self, number: int) -> None:
        if self._open.pop(number, None):
            self._dropped.append(number)
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        requests = [request for request in self._unsent if self._awaited(request.number)]
        dropped, self._unsent, self._dropped = self._dropped, [], []
        if self._cut is None and (requests or dropped):
            self._spawn(self._post(requests, dropped))
        if self._open and not self._collects:
            self._collects = True
            self._spawn(self._collect())

    def _awaited(self, number: int) -> bool:
        return number in self._open and not self._open[number].done()

    async def _post(self, requests: list[Request], dropped: list[int]) -> None:
        try:
            self._meet(await self._port.post(self._name, requests, dropped))
        except LineCutError as error:
            self._cut_off(str(error))
        except GenerateError as error:
            self._fail([request.number for request in requests], error)

    async def _collect(self) -> None:
        try:
            while self._open:
                delivery = await self._port.collect(self._name)
                self._meet(delivery.boot)
                for reply in delivery.replies:
                    self._settle(reply)
        except LineCutError as error:
            self._cut_off(str(error))
        except GenerateError as error:
            self._fail(list(self._open), error)
        finally:
            self._collects = False

    def _meet(self, boot: str) -> None:
        """A process that was started again answers calls that no longer concern it, and is silent about those it lost."""
        self._boot = self._boot or boot
        if boot != self._boot:
            raise LineCutError("it was started again")

    def _settle(self, reply: Reply) -> None:
        future = self._open.pop(reply.number, None)
        if future is None or future.done():
            return
        if reply.answer is not None:
            future.set_result(reply.answer)
        else:
            future.set_exception(reply.error or GenerateError("the engine sent an empty reply"))

    def _fail(self, numbers: list[int], error: GenerateError) -> None:
        for number in numbers:
            if number in self._open:
                self._settle(Reply(number=number, error=error))
                self._dropped.append(number)
        self._flush_soon()

    def _cut_off(self, reason: str) -> None:
        self._cut = self._cut or reason
        waiting, self._open = self._open, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(LineCutError(reason))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # The event loop holds tasks weakly: one that nobody keeps may vanish half-way.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
