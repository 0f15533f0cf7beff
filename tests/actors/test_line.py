"""A line between a host and an engine, without either: what is asked arrives in batches, and no failure leaves a call hanging."""

import asyncio

import pytest

from actors.chat import GenerateError, PromptTooLongError, Sampling
from actors.line import Line, LineCutError
from actors.mailbox import Mailbox
from actors.wire import Answer, Request

GREEDY = Sampling()


def answer(*ids):
    return Answer(text="", token_ids=ids, cached_tokens=0, finish_reason="stop")


class Model:
    """Answers a prompt with its own ids, at once or when told."""

    def __init__(self, held=False):
        self.asked, self.stopped, self.open = [], [], asyncio.Event()
        if not held:
            self.open.set()

    async def __call__(self, request):
        self.asked.append(request.prompt_ids)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.stopped.append(request.prompt_ids)
            raise
        if request.prompt_ids == [0]:
            raise PromptTooLongError("0 is too long")
        if request.prompt_ids == [1]:
            raise KeyError("1")
        return answer(*request.prompt_ids)


class Near:
    """A port to a mailbox in this process, with the faults of a far one."""

    def __init__(self, mailbox):
        self.mailbox, self.posts, self.deliveries = mailbox, [], []
        self.fault = None

    async def post(self, line, requests, dropped):
        await self._travel()
        self.posts.append(([request.prompt_ids for request in requests], list(dropped)))
        return self.mailbox.post(line, requests, dropped)

    async def collect(self, line):
        await self._travel()
        delivery = await self.mailbox.collect(line)
        await self._travel()
        self.deliveries.append([reply.number for reply in delivery.replies])
        return delivery

    async def _travel(self):
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault


def opened(model, **settings):
    port = Near(Mailbox(model, **settings))
    return Line(port), port


async def ask(line, *ids, within=5.0):
    return await asyncio.wait_for(line.call(list(ids), GREEDY, None), within)


async def until(holds):
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


async def asked_of(model, number):
    await until(lambda: len(model.asked) >= number)


def test_calls_of_one_moment_go_and_come_together():
    async def play():
        line, port = opened(Model())
        answers = await asyncio.gather(*(ask(line, n) for n in range(10, 15)))
        assert [a.token_ids for a in answers] == [(n,) for n in range(10, 15)]
        assert port.posts == [([[n] for n in range(10, 15)], [])]
        assert port.deliveries == [[0, 1, 2, 3, 4]]
        assert (await ask(line, 99)).token_ids == (99,)

    asyncio.run(play())


def test_an_answer_does_not_wait_for_a_slower_one():
    async def play():
        model = Model(held=True)
        line, _ = opened(model)
        slow = asyncio.create_task(ask(line, 7))
        await asked_of(model, 1)
        held, model.open = model.open, asyncio.Event()
        model.open.set()
        assert (await ask(line, 8)).token_ids == (8,)
        assert not slow.done()
        held.set()
        assert (await slow).token_ids == (7,)

    asyncio.run(play())


def test_a_call_that_fails_fails_alone_and_keeps_its_kind():
    async def play():
        line, _ = opened(Model())
        results = await asyncio.gather(*(ask(line, n) for n in (0, 1, 2)), return_exceptions=True)
        assert isinstance(results[0], PromptTooLongError)
        assert isinstance(results[1], GenerateError)
        assert results[1].retryable
        assert "KeyError" in str(results[1])
        assert results[2] == answer(2)

    asyncio.run(play())


def test_a_cancelled_call_is_stopped_in_the_engine_and_the_others_go_on():
    async def play():
        model = Model(held=True)
        line, port = opened(model)
        kept = asyncio.create_task(ask(line, 5))
        await asked_of(model, 1)
        with pytest.raises(TimeoutError):
            await ask(line, 6, within=0.05)
        await until(lambda: model.stopped)
        assert model.stopped == [[6]]
        assert port.posts[-1] == ([], [1])
        model.open.set()
        assert (await kept).token_ids == (5,)

    asyncio.run(play())


def test_a_call_cancelled_before_it_left_is_never_asked():
    async def play():
        model = Model()
        line, _ = opened(model)
        gone = asyncio.create_task(line.call([6], GREEDY, None))
        await asyncio.sleep(0)  # it waits, and nothing has been sent
        gone.cancel()
        await ask(line, 5)
        assert model.asked == [[5]]

    asyncio.run(play())


@pytest.mark.parametrize("when", ["asked", "waiting"])
def test_death_of_the_engine_fails_every_call_and_those_after(when):
    async def play():
        model = Model(held=True)
        line, port = opened(model, poll_s=0.05)
        calls = [asyncio.create_task(ask(line, n)) for n in (5, 6)]
        if when == "waiting":
            await asked_of(model, 2)
        port.fault = LineCutError("ActorDiedError")
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, LineCutError)
            assert "ActorDiedError" in str(result)
        port.fault = None
        with pytest.raises(LineCutError):
            await ask(line, 7)

    asyncio.run(play())


def test_an_engine_that_was_started_again_unseen_fails_what_it_lost():
    async def play():
        model = Model(held=True)
        line, port = opened(model, poll_s=0.05)
        call = asyncio.create_task(ask(line, 5))
        await asked_of(model, 1)
        port.mailbox = Mailbox(Model(), poll_s=0.05)
        with pytest.raises(LineCutError, match="started again"):
            await call

    asyncio.run(play())


def test_a_delivery_that_is_lost_fails_its_calls_and_the_line_lives():
    async def play():
        model = Model(held=True)
        line, port = opened(model, poll_s=0.05)
        call = asyncio.create_task(ask(line, 5))
        await asked_of(model, 1)
        port.fault = GenerateError("the engine failed: ObjectLostError")
        with pytest.raises(GenerateError, match="ObjectLostError"):
            await call
        port.fault = None
        model.open.set()
        assert (await ask(line, 6)).token_ids == (6,)

    asyncio.run(play())


def test_a_line_without_calls_does_not_collect():
    async def play():
        line, port = opened(Model(), poll_s=0.01)
        await ask(line, 5)
        await asyncio.sleep(0.05)
        assert len(port.deliveries) == 1

    asyncio.run(play())


def test_a_host_that_died_leaves_nothing_in_the_engine():
    async def play():
        now, model = [0.0], Model(held=True)
        mailbox = Mailbox(model, poll_s=0.01, forget_s=60, clock=lambda: now[0])
        request = Request(number=0, prompt_ids=[5], sampling=GREEDY, adapter=None)
        mailbox.post("dead", [request], [])
        await asked_of(model, 1)
        now[0] = 59.0
        mailbox.post("another", [], [])
        assert (mailbox.lines, model.stopped) == (2, [])
        now[0] = 61.0
        mailbox.post("another", [], [])
        await asyncio.sleep(0)
        assert (mailbox.lines, model.stopped) == (1, [[5]])

    asyncio.run(play())


def test_a_host_that_waits_long_is_not_forgotten():
    async def play():
        now, model = [0.0], Model(held=True)
        mailbox = Mailbox(model, poll_s=5, forget_s=60, clock=lambda: now[0])
        line = Line(Near(mailbox))
        call = asyncio.create_task(ask(line, 5))
        await asked_of(model, 1)
        for _ in range(5):
            await asyncio.sleep(0)  # its collector is there
        now[0] = 100.0
        mailbox.post("another", [], [])
        model.open.set()
        assert (await call).token_ids == (5,)

    asyncio.run(play())
