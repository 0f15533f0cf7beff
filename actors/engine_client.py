"""Engines as one model: sessions stay with their engine, and move when it dies. Knows no Ray; engines are behind `Port`."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from actors.chat import Completion, Generate, GenerateError, Message, Sampling
from actors.codec import ChatCodec
from actors.line import Line, LineCutError, Port
from actors.routing import NoEngineError, Router

log = logging.getLogger(__name__)


class EngineClient:
    """Chats become token ids here, in the host: an engine's process has one lock for Python code, and its core needs it."""

    def __init__(self, ports: Mapping[str, Port], codec: ChatCodec) -> None:
        """Inside the event loop that makes the calls; `connect` finds the codec."""
        self._ports, self._codec = dict(ports), codec
        self._router = Router(tuple(ports))
        self._lines = {name: Line(port) for name, port in ports.items()}
        self._back = asyncio.Event()
        # One an engine that is buried: it gets no calls, and so is not buried again, before its probe has ended.
        self._probes: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, ports: Mapping[str, Port]) -> "EngineClient":
        """A client that reads as the engines do; waits for the first of them to say how."""
        while True:
            for port in ports.values():
                with suppress(LineCutError):
                    return cls(ports, ChatCodec(await port.tokenizer()))
            await asyncio.sleep(0.5)

    def generate_for(self, adapter: str | None) -> Generate:
        return _AdapterModel(client=self, adapter=adapter)

    def end_session(self, session: str) -> None:
        self._router.end_session(session)

    async def call(
        self, messages: Sequence[Message], sampling: Sampling, session: str, adapter: str | None
    ) -> Completion:
        prompt_ids = self._codec.encode(messages)
        name = await self._living_engine(session)
        line = self._lines[name]
        try:
            answer = await line.call(prompt_ids, sampling, adapter)
        except LineCutError as error:
            self._bury(name, line)
            raise GenerateError(f"{name} died during a call: {error}", retryable=True) from error
        return self._codec.completion(prompt_ids, answer, sampling.stop)

    async def _living_engine(self, session: str) -> str:
        """The caller's time limit bounds the wait for an engine that is coming back."""
        while True:
            try:
                return self._router.engine_for(session)
            except NoEngineError:
                self._back.clear()
                await self._back.wait()

    def _bury(self, name: str, line: Line) -> None:
        if self._lines[name] is not line:
            return  # Another call of the same line was here before, and the engine may be back by now.
        self._lines[name] = Line(self._ports[name])
        self._router.mark_dead(name)
        probe = asyncio.create_task(self._await_return(name))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _await_return(self, name: str) -> None:
        await self._ports[name].wait_alive()
        self._router.mark_alive(name)
        self._back.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class _AdapterModel:
    client: EngineClient
    adapter: str | None

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        return await self.client.call(messages, sampling, session, self.adapter)
