"""Engines as one model: sessions stay with their engine, and move when it dies. Knows no Ray; engines are behind `Port`."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from actors.chat import Completion, Generate, Message, OutageError, Sampling
from actors.codec import ChatCodec
from actors.line import Line, LineCutError, Port
from actors.routing import NoEngineError, Router

log = logging.getLogger(__name__)


class EngineClient:
    """Chats become token ids here, in the host: an engine's process has one lock for Python code, and its core needs it."""

    def __init__(self, ports: Mapping[str, Port], codec: ChatCodec, router: Router | None = None) -> None:
        """Inside the event loop that makes the calls; `connect` finds the codec. `router`: empty, such as one of another policy."""
        self._ports: dict[str, Port] = {}
        self._codec = codec
        self._router = router or Router()
        self._lines: dict[str, Line] = {}
        self._back = asyncio.Event()
        # One an engine that is buried: it gets no calls, and so is not buried again, before its probe has ended.
        self._probes: set[asyncio.Task[None]] = set()
        self.update(ports)

    @classmethod
    async def connect(cls, ports: Mapping[str, Port], router: Router | None = None) -> "EngineClient":
        """A client that reads as the engines do; waits for the first of them to say how."""
        while True:
            for port in ports.values():
                with suppress(LineCutError):
                    return cls(ports, ChatCodec(await port.tokenizer()), router)
            await asyncio.sleep(0.5)

    def update(self, ports: Mapping[str, Port], draining: Iterable[str] = ()) -> None:
        """The engines of the moment. Calls that run at one that has left end there; its sessions move at their next call."""
        for name in self._ports.keys() - ports.keys():
            self._router.remove(name)
            del self._ports[name], self._lines[name]
        for name in [name for name in ports if name not in self._ports]:
            self._ports[name], self._lines[name] = ports[name], Line(ports[name])
            self._router.add(name)
            self._back.set()
        for name in draining:
            self._router.drain(name)

    @property
    def engines(self) -> Mapping[str, Port]:
        return self._ports

    @property
    def held_tokens(self) -> Mapping[str, int]:
        return self._router.loads

    @property
    def unreachable(self) -> tuple[str, ...]:
        return self._router.dead

    def generate_for(self, adapter: str | None) -> Generate:
        return _AdapterModel(client=self, adapter=adapter)

    def place(self, session: str, engine: str) -> None:
        if engine in self._ports and engine not in self._router.dead:
            self._router.place(session, engine, 0)

    def end_session(self, session: str) -> None:
        self._router.end_session(session)

    async def call(
        self, messages: Sequence[Message], sampling: Sampling, session: str, adapter: str | None
    ) -> Completion:
        prompt_ids = self._codec.encode(messages)
        name = await self._living_engine(session, len(prompt_ids))
        self._router.reweigh(session, len(prompt_ids))
        line = self._lines[name]
        try:
            answer = await line.call(prompt_ids, sampling, adapter)
        except LineCutError as error:
            self._bury(name, line)
            raise OutageError(f"{name} died during a call: {error}") from error
        self._router.reweigh(session, len(prompt_ids) + len(answer.token_ids))
        return self._codec.completion(prompt_ids, answer, sampling.stop)

    async def _living_engine(self, session: str, tokens: int) -> str:
        """The caller's time limit bounds the wait for an engine that is coming back."""
        while True:
            try:
                return self._router.engine_for(session, tokens)
            except NoEngineError:
                self._back.clear()
                await self._back.wait()

    def _bury(self, name: str, line: Line) -> None:
        if self._lines.get(name) is not line:
            return  # It has left, or another call of the same line was here before and the engine may be back by now.
        self._lines[name] = Line(self._ports[name])
        self._router.mark_dead(name)
        probe = asyncio.create_task(self._await_return(name, self._ports[name]))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _await_return(self, name: str, port: Port) -> None:
        await port.wait_alive()
        self._router.mark_alive(name)
        self._back.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class _AdapterModel:
    client: EngineClient
    adapter: str | None

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        return await self.client.call(messages, sampling, session, self.adapter)
