"""One deadline, pauses between tries, and what the gate hears of each of them."""

import asyncio
import pickle
import random

import pytest

from actors.chat import Completion, GenerateError, Message, PromptTooLongError, Sampling
from actors.patience import Patience, PatientModel, TryError
from actors.retry import Again, Backoff, GiveUp

MESSAGES = (Message(role="user", content="u"),)
REPLY = Completion(text="r", prompt_tokens=1, cached_tokens=0, completion_tokens=1, finish_reason="stop")
PASSING = TryError("it answers HTTP 500", retryable=True)
LOST = TryError("the connection broke", retryable=True, may_cost=True)


class Script:
    """Answers by script; an error is raised, a number is slept before the reply."""

    def __init__(self, *script):
        self.script, self.calls = script, 0

    async def __call__(self, messages, sampling, *, session):
        entry = self.script[min(self.calls, len(self.script) - 1)]
        self.calls += 1
        if isinstance(entry, Exception):
            raise entry
        if isinstance(entry, int | float):
            await asyncio.sleep(entry)
            return REPLY
        return entry


class Gate:
    def __init__(self, refuse_after=99):
        self.heard, self.refuse_after = [], refuse_after

    async def enter(self, messages, sampling, *, session):
        if len(self.heard) >= self.refuse_after:
            raise GenerateError("no money", retryable=False)
        self.heard.append("entered")
        return len(self.heard) - 1

    def answered(self, number, completion):
        self.heard[number] = completion.text

    def failed(self, number, *, may_cost):
        self.heard[number] = "may cost" if may_cost else "free"


def patient(once, *, gate=None, attempts=4, timeout_s=30.0, **limits):
    backoff = Backoff(max_attempts=attempts, base_delay_s=0.001, max_delay_s=0.002)
    return PatientModel(
        once=once,
        patience=Patience(place="m at x", backoff=backoff, timeout_s=timeout_s, **limits),
        gate=gate,
    )


async def ask(model):
    return await model(MESSAGES, Sampling(), session="s")


async def test_the_gate_hears_of_every_try():
    gate = Gate()
    assert await ask(patient(Script(PASSING, LOST, REPLY), gate=gate)) == REPLY
    assert gate.heard == ["free", "may cost", "r"]


async def test_a_refusal_at_the_gate_ends_the_call_and_sends_nothing():
    once = Script(LOST)
    with pytest.raises(GenerateError, match="no money"):
        await ask(patient(once, gate=Gate(refuse_after=1)))
    assert once.calls == 1


async def test_a_try_that_hangs_is_given_up_and_may_have_cost():
    gate = Gate()
    assert await ask(patient(Script(60, REPLY), gate=gate, try_timeout_s=0.05)) == REPLY
    assert gate.heard == ["may cost", "r"]


async def test_the_deadline_is_one_for_all_tries():
    once = Script(60)
    with pytest.raises(GenerateError, match=r"m at x after \d tries: it did not answer in time") as error:
        await ask(patient(once, timeout_s=0.2, try_timeout_s=0.08, attempts=50))
    assert error.value.retryable
    assert 2 <= once.calls <= 4


async def test_waiting_at_the_gate_does_not_use_up_the_deadline():
    class Slow(Gate):
        async def enter(self, *args, **options):
            await asyncio.sleep(0.1)
            return await super().enter(*args, **options)

    assert await ask(patient(Script(PASSING, REPLY), gate=Slow(), timeout_s=0.05)) == REPLY


async def test_a_cancelled_call_may_have_cost():
    gate = Gate()
    task = asyncio.create_task(ask(patient(Script(60), gate=gate)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.heard == ["may cost"]


async def test_a_prompt_that_is_too_long_stays_what_it_is():
    with pytest.raises(PromptTooLongError):
        await ask(patient(Script(PromptTooLongError("too long"))))


def test_a_wish_that_goes_past_the_deadline_ends_the_call():
    backoff = Backoff(max_attempts=9, base_delay_s=0.5)
    assert (
        backoff.decide(attempt=1, retryable=True, asked_s=60, remaining_s=50)
        == GiveUp()
        == backoff.decide(attempt=9, retryable=True, asked_s=None, remaining_s=50)
        == backoff.decide(attempt=1, retryable=False, asked_s=None, remaining_s=50)
    )


def test_pauses_are_jittered_under_a_doubling_ceiling_and_above_the_servers_wish():
    backoff = Backoff(max_attempts=99, base_delay_s=1.0, max_delay_s=5.0, jitter=random.Random(0))
    for attempt, ceiling in ((1, 1), (2, 2), (3, 4), (4, 5), (90, 5)):
        decisions = [
            backoff.decide(attempt=attempt, retryable=True, asked_s=3.0, remaining_s=1e9) for _ in range(200)
        ]
        pauses = [decision.delay_s - 3.0 for decision in decisions if isinstance(decision, Again)]
        assert len(set(pauses)) == 200
        assert 0 <= min(pauses) < 0.1 * ceiling < 0.9 * ceiling < max(pauses) <= ceiling


def test_a_failed_try_survives_pickling():
    error = pickle.loads(pickle.dumps(TryError("no", retryable=True, retry_after_s=2.0, may_cost=True)))
    assert (str(error), error.retryable, error.retry_after_s, error.may_cost) == ("no", True, 2.0, True)
