"""Engines behind ports: where sessions go, and what the death of an engine does to them."""

import asyncio
from dataclasses import dataclass

import pytest

from actors.chat import GenerateError, Message, Sampling
from actors.codec import ChatCodec
from actors.engine_client import EngineClient
from actors.line import LineCutError
from actors.mailbox import Mailbox
from actors.wire import Answer

CHAT = (Message(role="user", content="abc"),)


class Letters(ChatCodec):
    """A codec that reads a chat as its letters."""

    def __init__(self):
        pass

    def encode(self, messages):
        return [ord(letter) for message in messages for letter in message.content]

    def decode(self, token_ids, stop):
        return "".join(map(chr, token_ids))


class Engine:
    """Says its prompt backwards; can be killed and started."""

    def __init__(self):
        self.calls, self.probes, self.dead, self.returned = 0, 0, False, asyncio.Event()
        self.mailbox = Mailbox(self._answer, poll_s=0.05)

    async def _answer(self, request):
        self.calls += 1
        return Answer(
            text="", token_ids=tuple(request.prompt_ids[::-1]), cached_tokens=2, finish_reason="stop"
        )

    def start(self):
        self.dead, self.mailbox = False, Mailbox(self._answer, poll_s=0.05)
        self.returned.set()

    async def post(self, line, requests, dropped):
        self._check()
        return self.mailbox.post(line, requests, dropped)

    async def collect(self, line):
        delivery = await self.mailbox.collect(line)
        self._check()
        return delivery

    async def tokenizer(self):
        self._check()
        return Tokenizer()

    async def wait_alive(self):
        self.probes += 1
        await self.returned.wait()

    def _check(self):
        if self.dead:
            raise LineCutError("ActorDiedError")


@dataclass
class Tokenizer:
    is_fast: bool = False


async def ask(client, session="s"):
    return await asyncio.wait_for(client.generate_for(None)(CHAT, Sampling(), session=session), 5)


def test_a_chat_goes_as_tokens_and_comes_back_as_text():
    async def play():
        engine = Engine()
        completion = await ask(EngineClient({"a": engine}, Letters()))
        assert completion.text == "cba"
        assert (completion.prompt_tokens, completion.cached_tokens, completion.completion_tokens) == (3, 2, 3)

    asyncio.run(play())


def test_a_session_stays_and_moves_when_its_engine_dies():
    async def play():
        engines = {"a": Engine(), "b": Engine()}
        client = EngineClient(engines, Letters())
        for _ in range(3):
            await ask(client)
        assert sorted(e.calls for e in engines.values()) == [0, 3]
        [used] = [e for e in engines.values() if e.calls]
        used.dead = True
        with pytest.raises(GenerateError, match=r"[ab] died during a call: ActorDiedError") as lost:
            await ask(client)
        assert lost.value.retryable
        await ask(client)
        assert sorted(e.calls for e in engines.values()) == [1, 3]

    asyncio.run(play())


def test_all_calls_of_a_dead_engine_fail_once_and_wait_for_its_return():
    async def play():
        engine = Engine()
        client = EngineClient({"a": engine}, Letters())
        await ask(client)
        engine.dead = True
        calls = [asyncio.create_task(ask(client, f"s{n}")) for n in range(4)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, GenerateError) for result in results)
        assert engine.probes == 1
        later = asyncio.create_task(ask(client))
        await asyncio.sleep(0.05)
        assert not later.done()
        engine.start()
        assert (await later).text == "cba"

    asyncio.run(play())


def test_connecting_waits_for_an_engine_that_is_coming():
    async def play():
        engine = Engine()
        engine.dead = True
        connecting = asyncio.create_task(EngineClient.connect({"a": engine}))
        await asyncio.sleep(0.05)
        assert not connecting.done()
        engine.start()
        assert isinstance(await asyncio.wait_for(connecting, 5), EngineClient)

    asyncio.run(play())
