"""The driver with hosts that are scripted: what is lost, who plays it again, when it stops."""

import asyncio

import pytest

from actors.driver import Driver, RolloutError
from actors.episode import EpisodeSpec
from actors.loss_log import LossLog
from actors.owed import Owed
from actors.player import Ended, Lost, Outbox
from actors.retry import Breaker, RetryPolicy
from actors.trajectory import EndReason
from envs.task import Task


def specs_of(number, kind="k"):
    return [
        EpisodeSpec(
            task=Task(env="e", split="test", id=f"{kind}{n}", kind=kind, goal="g"),
            role="base",
            arm="base",
            seed=0,
        )
        for n in range(number)
    ]


class FakeHost:
    """Takes `seconds` for an episode; loses those that `loses(task id, attempt)` names."""

    def __init__(self, name="h", seconds=0.0, loses=lambda task, lost: False, retryable=True, outage=False):
        self.name, self.seconds, self.loses = name, seconds, loses
        self.retryable, self.outage = retryable, outage
        self.played, self.recorded, self.now, self.most = [], [], 0, 0

    async def play(self, spec, lost):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        self.now -= 1
        self.played.append((spec.task.id, lost))
        if self.loses(spec.task.id, lost):
            return Lost(reason="it broke", retryable=self.retryable, outage=self.outage)
        return Ended(end=EndReason.DONE, success=True, num_turns=2, completion_tokens=3)

    async def record(self, trajectory):
        self.recorded.append(trajectory)


def driver(specs, *, max_retries=2, breaker=16, stall_s=60.0, progress=None, meters=None):
    return Driver(
        specs,
        agent_name="a",
        model_name="m",
        policy=RetryPolicy(max_retries=max_retries, max_outages=6, base_delay_s=0.001),
        breaker=Breaker(breaker),
        stall_s=stall_s,
        progress=progress,
        meters=meters,
    )


async def test_every_episode_is_played_once_within_the_limit_of_each_host():
    hosts = [FakeHost("a", 0.002), FakeHost("b", 0.002)]
    state = await driver(specs_of(20)).run(hosts, in_flight=3)
    assert sorted(task for host in hosts for task, _ in host.played) == sorted(
        s.task.id for s in specs_of(20)
    )
    assert max(host.most for host in hosts) <= 3
    assert (state.ended, state.successes, state.turns, state.completion_tokens) == (20, 20, 40, 60)


async def test_a_fast_host_does_not_wait_for_a_slow_one():
    fast, slow = FakeHost("fast"), FakeHost("slow")
    others_ended = asyncio.Event()

    async def wait_for_the_others(spec, lost):
        await others_ended.wait()
        return await FakeHost.play(slow, spec, lost)

    def note(state):
        if state.ended == 29:
            others_ended.set()

    slow.play = wait_for_the_others
    await asyncio.wait_for(driver(specs_of(30), progress=note).run([fast, slow], in_flight=1), 30)
    assert (len(fast.played), len(slow.played)) == (29, 1)


async def test_a_lost_episode_is_played_again_and_told_how_often_it_was_lost():
    host = FakeHost(loses=lambda task, lost: task == "k1" and lost < 2)
    state = await driver(specs_of(3)).run([host], in_flight=2)
    assert [attempt for attempt in host.played if attempt[0] == "k1"] == [("k1", 0), ("k1", 1), ("k1", 2)]
    assert (state.ended, state.errors, state.retries) == (3, 0, 2)


async def test_an_episode_that_is_lost_for_good_is_recorded_with_its_reason():
    host = FakeHost(loses=lambda task, lost: task == "k1")
    state = await driver(specs_of(3)).run([host], in_flight=1)
    assert (state.ended, state.errors, state.successes) == (3, 1, 2)
    [record] = host.recorded
    assert (record.task.id, record.end, record.error, record.retries) == (
        "k1",
        EndReason.ERROR,
        "it broke",
        2,
    )


@pytest.mark.parametrize(("times", "errors"), [(6, 0), (7, 1)])
async def test_outages_are_counted_apart_and_not_without_end(times, errors):
    host = FakeHost(loses=lambda task, lost: task == "k1" and lost < times, outage=True)
    state = await driver(specs_of(3), max_retries=1).run([host], in_flight=1)
    assert (state.ended, state.errors, state.retries) == (3, errors, 6)
    assert [record.retries for record in host.recorded] == [6] * errors


async def test_what_one_fault_cost_is_one_line(caplog):
    host = FakeHost("host 0", seconds=0.001, loses=lambda task, lost: lost == 0)
    await driver(specs_of(64)).run([host], in_flight=64)
    [line] = [record.getMessage() for record in caplog.records]
    assert line == "host 0 lost 64 attempts, such as e/k0: it broke"


async def test_losses_of_other_hosts_and_reasons_have_lines_of_their_own(caplog):
    losses = LossLog(every_s=0.01)
    for host, reason in (("a", "x"), ("a", "x"), ("a", "y"), ("b", "x")):
        losses.note(host, reason, "t", given_up=host == "b")
    assert caplog.messages == []
    await asyncio.sleep(0.05)
    assert caplog.messages == [
        "a lost 2 attempts, such as t: x",
        "a lost 1 attempt, such as t: y",
        "b lost 1 attempt (1 given up), such as t: x",
    ]
    losses.note("a", "x", "t", given_up=False)
    await asyncio.sleep(0.05)
    assert caplog.messages[3:] == ["a lost 1 attempt, such as t: x"], "a fault that goes on is said again"


async def test_errors_in_a_row_stop_it_early():
    host = FakeHost(loses=lambda task, lost: True, retryable=False)
    with pytest.raises(RolloutError, match="because: it broke"):
        await driver(specs_of(50), breaker=4).run([host], in_flight=1)
    assert len(host.played) == 4


async def test_a_host_that_hangs_is_an_error_and_not_silence():
    with pytest.raises(RolloutError, match=r"no episode has ended or been lost for .* 0 of 2 ended"):
        await driver(specs_of(2), stall_s=0.05).run([FakeHost(seconds=60)], in_flight=2)


async def test_a_fault_of_the_driver_itself_is_raised():
    def broken(state):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await driver(specs_of(2), progress=broken).run([FakeHost()], in_flight=1)


def test_the_longest_kinds_come_first():
    mixed = [*specs_of(2, "short"), *specs_of(2, "long"), *specs_of(1, "new")]
    ordered = Owed(mixed).longest_first({"short": 4.0, "long": 30.0})
    assert [spec.task.id for spec in ordered] == ["long0", "long1", "short0", "short1", "new0"]


async def test_the_outbox_batches_while_the_disk_is_busy():
    written = []

    async def slow(lines):
        await asyncio.sleep(0.02)
        written.append(lines)

    outbox = Outbox(slow, gather_s=0.0)
    first = asyncio.create_task(outbox.put("1"))
    await asyncio.sleep(0.01)
    await asyncio.gather(first, *(outbox.put(str(n)) for n in range(2, 6)))
    assert written == [["1"], ["2", "3", "4", "5"]]


async def test_whoever_waits_for_the_disk_hears_of_its_failure():
    async def full(lines):
        raise OSError("no space left")

    outbox = Outbox(full, gather_s=0.0)
    with pytest.raises(OSError, match="no space"):
        await outbox.put("1")
