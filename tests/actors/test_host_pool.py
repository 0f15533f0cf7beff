"""Hosts as one: who plays what, where lost episodes go, and who gets none."""

import asyncio
from collections import Counter

import pytest

from actors.driver import Driver
from actors.episode import EpisodeSpec
from actors.host_pool import HostPool
from actors.meters import NoMeters
from actors.metrics import EPISODES, LOST
from actors.player import Ended, Lost
from actors.pulse import HostPulse, Report
from actors.retry import Breaker, RetryPolicy
from actors.seats import Seats
from actors.trajectory import EndReason
from envs.task import Task

ENDED = Ended(end=EndReason.DONE, success=True, num_turns=1, completion_tokens=1)


def specs_of(number):
    return [
        EpisodeSpec(
            task=Task(env="e", split="test", id=f"t{n}", kind="k", goal="g"), role="base", arm="base", seed=0
        )
        for n in range(number)
    ]


class Host:
    """Plays for `seconds`; loses, dies or is asked to retire."""

    def __init__(self, name, *, seconds=0.001, loses=False, dies=False, tokens=100):
        self.name, self.seconds, self.loses, self.dies, self.tokens = name, seconds, loses, dies, tokens
        self.was_stuck = False
        self.played, self.engines, self.recorded, self.retired, self.now, self.most = [], [], [], False, 0, 0

    async def play(self, spec, lost, engine):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        self.now -= 1
        if self.dies:
            return None
        self.played.append((spec.task.id, lost))
        self.engines.append(engine)
        outcome = Lost(reason="the disk is full", retryable=True) if self.loses else ENDED
        return Report(outcome=outcome, tokens=self.tokens)

    async def record(self, trajectory):
        if not self.dies:
            self.recorded.append(trajectory)
        return not self.dies

    def retire(self):
        self.retired = True


class CountingMeters(NoMeters):
    def __init__(self):
        self.counts = Counter()

    def count(self, metric, amount=1.0, **tags):
        self.counts[metric.name, tags["host"]] += amount

    def of(self, metric):
        return {host: number for (name, host), number in self.counts.items() if name == metric.name}


def pulse(**changes):
    return HostPulse(
        **({"node": "n", "membership": 0, "turns": 0, "ended": 0, "playing": 0, "held_tokens": {}} | changes)
    )


def pool_of(*hosts, per_host=4, engines=None, **settings):
    pool = HostPool(per_host, engines, **settings)
    for host in hosts:
        pool.join(host)
    return pool


async def play_all(pool, number, in_flight=16, max_retries=3, meters=None):
    driver = Driver(
        specs_of(number),
        agent_name="a",
        model_name="m",
        policy=RetryPolicy(max_retries=max_retries, max_outages=6, base_delay_s=0.001),
        breaker=Breaker(16),
        stall_s=60,
        meters=meters,
    )
    return await asyncio.wait_for(driver.run([pool], in_flight), 30)


async def test_hosts_share_the_episodes_and_none_gets_more_than_its_places():
    hosts = [Host("a"), Host("b"), Host("c", seconds=0.01)]
    state = await play_all(pool_of(*hosts), 60)
    assert (state.ended, state.retries) == (60, 0)
    assert all(0 < host.most <= 4 for host in hosts)
    assert len(hosts[2].played) < len(hosts[0].played)


async def test_a_host_that_dies_gets_nothing_until_it_is_back():
    dying, well = Host("dying", dies=True), Host("well")
    pool = pool_of(dying, well)
    state = await play_all(pool, 20)
    assert (state.ended, state.errors) == (20, 0)
    assert 0 < state.retries <= 4
    assert len(well.played) == 20
    dying.dies = False
    pool.note(dying, pulse())
    await play_all(pool, 20)
    assert dying.played


async def test_what_one_host_lost_is_played_by_another():
    bad, well = Host("bad", loses=True), Host("well", seconds=0.01)
    state = await play_all(pool_of(bad, well), 30, max_retries=1)
    assert (state.ended, state.errors) == (30, 0), "one retry is enough where it goes elsewhere"
    assert {lost for _, lost in bad.played} == {0}


@pytest.mark.parametrize(("stuck", "outage"), [(False, True), (True, False)])
async def test_a_host_that_dies_is_an_outage_and_one_that_was_stuck_is_not(stuck, outage):
    host = Host("h", dies=True)
    host.was_stuck = stuck
    lost = await pool_of(host).play(specs_of(1)[0], 0)
    assert (lost.outage, lost.retryable, lost.host) == (outage, True, "h")
    assert ("stuck" in lost.reason) == stuck


async def test_metrics_name_the_host_that_won_or_lost_and_not_the_pool():
    counted, bad, well = CountingMeters(), Host("bad", loses=True), Host("well", seconds=0.01)
    await play_all(pool_of(bad, well), 30, meters=counted)
    assert counted.of(EPISODES) == {"well": 30}
    assert counted.of(LOST) == {"bad": len(bad.played)}


async def test_metrics_name_the_host_at_which_an_episode_was_given_up():
    counted = CountingMeters()
    state = await play_all(pool_of(Host("bad", loses=True)), 8, max_retries=1, meters=counted)
    assert state.errors == 8
    assert counted.of(EPISODES) == {"bad": 8}


async def test_a_host_that_loses_all_it_is_given_rests():
    bad, well = Host("bad", loses=True, seconds=0), Host("well", seconds=0.01)
    state = await play_all(pool_of(bad, well, per_host=2), 60)
    assert state.errors == 0
    assert len(bad.played) <= 5


async def test_a_host_does_not_rest_for_what_its_engine_lost():
    engines, host, other = Seats(cap=100), Host("h", loses=True), Host("other", seconds=0.01)
    engines.join("dying")
    engines.join("well")
    pool, play = pool_of(host, other, engines=engines, per_host=8), host.play

    async def lose_with_the_engine(spec, lost, engine):
        report = await play(spec, lost, engine)
        host.loses = len(host.played) < 8
        return Report(outcome=report.outcome, tokens=0, unreachable=("dying",))

    host.play = lose_with_the_engine
    state = await play_all(pool, 60)
    assert (state.ended, state.errors) == (60, 0)
    assert len(host.played) > 12
    assert engines.open == 1


async def test_the_only_host_does_not_rest():
    state = await play_all(pool_of(Host("bad", loses=True)), 8, max_retries=1)
    assert (state.ended, state.errors) == (8, 8)


async def test_a_host_that_joins_takes_its_part_and_one_that_leaves_gets_no_more():
    first, second = Host("first", seconds=0.005), Host("second", seconds=0.005)
    pool = pool_of(first)
    playing = asyncio.create_task(play_all(pool, 40))
    await asyncio.sleep(0.02)
    pool.join(second)
    pool.drain(first)
    played = len(first.played)
    await playing
    assert len(first.played) <= played + 4
    assert len(second.played) >= 40 - played - 4


async def test_a_host_is_told_to_retire_after_its_episodes():
    old, young = Host("old"), Host("young")
    pool = pool_of(old, recycle_after=10)
    playing = asyncio.create_task(play_all(pool, 15))
    while not old.retired:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.001)
    pool.join(young)
    await playing
    # Those whose place was theirs already are played out.
    assert 10 <= len(old.played) < 10 + 4
    assert len(old.played) + len(young.played) == 15


async def test_episodes_begin_on_the_engine_that_has_room():
    engines, host = Seats(cap=100), Host("h", seconds=0.005, tokens=250)
    engines.join("a", 1000)
    pool = pool_of(host, engines=engines, per_host=50)
    for _ in range(8):
        pool.growth.note_ended(250)
    await play_all(pool, 20, in_flight=50)
    assert host.most == 5, "1000 tokens for 175 each, seven tenths of what they come to"
    assert set(host.engines) == {"a"}
    engines.join("b", 2000)
    host.most = 0
    await play_all(pool, 40, in_flight=50)
    assert host.most > 5
    assert set(host.engines) == {"a", "b"}


async def test_pulses_say_what_is_held_and_which_engines_are_dead():
    engines, hosts = Seats(cap=1), [Host("x"), Host("y")]
    engines.join("a", 1000)
    engines.join("b", 1000)
    pool = pool_of(*hosts, engines=engines)
    pool.note(hosts[0], pulse(held_tokens={"a": 400, "b": 10}))
    pool.note(hosts[1], pulse(held_tokens={"a": 500}))
    assert pool.growth.running_tokens == 910
    pool.note(hosts[0], pulse(held_tokens={"a": 100}, unreachable=("b",)))
    assert pool.growth.running_tokens == 600
    assert engines.open == 1
    pool.leave(hosts[1])
    assert (pool.growth.running_tokens, list(pool.pulses)) == (100, ["x"])


async def test_a_record_is_kept_although_a_host_died_under_it():
    dying, well = Host("dying", dies=True), Host("well")
    await pool_of(dying, well).record("a record")
    assert well.recorded == ["a record"]


async def test_waiting_for_hosts_ends_when_they_have_come():
    pool = pool_of(Host("a"))
    await pool.wait_for(1)
    waiting = asyncio.create_task(pool.wait_for(2))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.02)
    pool.join(Host("b"))
    await asyncio.wait_for(waiting, 5)
