"""Who minds a host and an engine: with the actors' handles replaced, what is done when one hangs, dies or drains with its node."""

import asyncio
from types import SimpleNamespace

import pytest

from actors.host_pool import HostPool
from actors.pulse import HostPulse, Membership

PATIENCE_S = 0.12


class Handle:
    """Answers as an actor's handle does. `answer`: a value, a function that makes one, an error to raise, or None for never."""

    def __init__(self):
        self.answer, self.told, self.kills = None, [], []

    def __getattr__(self, name):
        async def call(*arguments):
            self.told.append((name, *arguments))
            if self.answer is None:
                await asyncio.sleep(3600)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer() if callable(self.answer) else self.answer

        return SimpleNamespace(remote=call)


def pulse(**changes):
    return HostPulse(
        **({"node": "n", "membership": 1, "turns": 0, "ended": 0, "playing": 0, "held_tokens": {}} | changes)
    )


def metrics(**changes):
    return SimpleNamespace(**({"node": "n", "running": 0, "drawn_tokens": 0} | changes))


@pytest.fixture
def handle(monkeypatch):
    made = Handle()
    watch = pytest.importorskip("actors.watch")

    def kill(actor, no_restart=True):
        actor.kills.append("for good" if no_restart else "to start again")

    monkeypatch.setattr(watch.ray, "kill", kill)
    return made


@pytest.fixture
def host(handle):
    from actors.ray_host import RayHost

    members = [Membership(version=1)]
    nodes = SimpleNamespace(draining=frozenset())
    pool = HostPool(4, None)
    made = RayHost(0, lambda: handle, pool, lambda: members[0], nodes, PATIENCE_S)
    handle.answer = pulse()
    return SimpleNamespace(it=made, pool=pool, nodes=nodes, members=members)


class Roster:
    def __init__(self):
        self.heard, self.sessions = [], 0

    def taken(self, name):
        return self.sessions

    def __getattr__(self, what):
        return lambda name, *rest: self.heard.append(what)


@pytest.fixture
def engine(handle):
    from actors.replica import Replica

    made = Replica.__new__(Replica)
    made.name, made.actor, made.metrics, made.retiring = "engine 0", handle, None, False
    made.info = SimpleNamespace(node="n", kv_capacity_tokens=100)
    made.nodes, made.roster, made.patience_s = SimpleNamespace(draining=frozenset()), Roster(), PATIENCE_S
    handle.answer = metrics()
    return made


async def minded(member, seconds=0.5):
    task = asyncio.create_task(member.live())
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    return (await asyncio.gather(task, return_exceptions=True))[0]


async def test_a_host_that_has_nothing_to_do_is_left_alone(host, handle):
    assert isinstance(await minded(host.it), asyncio.CancelledError)
    assert handle.kills == []


@pytest.mark.parametrize("hangs", [pulse(playing=3, turns=7), None])
async def test_a_host_that_steps_nothing_or_does_not_answer_is_started_again(host, handle, hangs, caplog):
    task = asyncio.create_task(minded(host.it))
    await asyncio.sleep(0.01)
    handle.answer = hangs
    while not handle.kills:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.005)
    assert host.it.was_stuck
    await task
    assert handle.kills and set(handle.kills) == {"to start again"}
    assert "stepped none of 3 episodes" in caplog.text or "has not answered" in caplog.text


async def test_a_host_that_works_again_was_not_stuck(host, handle):
    task = asyncio.create_task(minded(host.it))
    await asyncio.sleep(0.01)
    handle.answer = pulse(playing=3, turns=7)
    while not handle.kills:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.005)
    assert host.it.was_stuck
    handle.answer = lambda: pulse(playing=3, turns=len(handle.told))
    await asyncio.sleep(0.1)
    assert not host.it.was_stuck, "should it die now, that is no doing of an episode"
    await task


async def test_a_host_that_steps_lives(host, handle):
    handle.answer = lambda: pulse(playing=3, turns=len(handle.told))
    await minded(host.it)
    assert len(handle.told) > 3
    assert handle.kills == []


async def test_a_host_whose_node_drains_leaves_when_its_episodes_have_ended(host, handle):
    task = asyncio.create_task(minded(host.it, 5))
    while not host.pool.open:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.005)
    place = await host.pool._places.take()
    host.nodes.draining = frozenset({"n"})
    await asyncio.sleep(0.2)
    assert host.it.retiring and host.pool.open == 0 and not task.done()
    host.pool._places.give_back(place)
    assert await asyncio.wait_for(task, 5) is None


async def test_a_host_is_told_of_other_engines_until_it_knows_them(host, handle):
    task = asyncio.create_task(minded(host.it))
    await asyncio.sleep(0.1)
    assert {told[1] for told in handle.told} == {None}
    news = host.members[0] = Membership(version=2, engines={"engine 1": "a"})
    await asyncio.sleep(0.1)
    assert handle.told[-1] == ("pulse", news)
    handle.answer = pulse(membership=2)
    await asyncio.sleep(0.1)
    assert handle.told[-1] == ("pulse", None)
    await task


async def test_an_engine_that_draws_no_token_is_started_again(engine, handle, caplog):
    handle.answer = metrics(running=3, drawn_tokens=50)
    await minded(engine)
    assert "to start again" in handle.kills
    assert "mark_dead" in engine.roster.heard
    assert "drew no token for 3 calls" in caplog.text


async def test_an_engine_that_draws_tokens_of_one_long_reply_lives(engine, handle):
    handle.answer = lambda: metrics(running=1, drawn_tokens=len(handle.told))
    await minded(engine)
    assert len(handle.told) > 3
    assert handle.kills == []


async def test_an_engine_that_died_is_dead_until_it_answers(engine, handle):
    from ray.exceptions import RayActorError

    handle.answer = RayActorError()
    task = asyncio.create_task(minded(engine))
    await asyncio.sleep(0.1)
    assert set(engine.roster.heard) == {"mark_dead"}
    handle.answer = metrics()
    await task
    assert engine.roster.heard[-1] == "mark_alive"


async def test_an_engine_whose_node_drains_leaves_when_its_sessions_have(engine, handle):
    engine.roster.sessions = 2
    engine.nodes.draining = frozenset({"n"})
    task = asyncio.create_task(minded(engine, 5))
    await asyncio.sleep(0.1)
    assert engine.retiring and "drain" in engine.roster.heard and not task.done()
    engine.roster.sessions = 0
    assert await asyncio.wait_for(task, 5) is None


async def test_an_engine_that_stays_dead_is_given_up(engine, handle, monkeypatch):
    from ray.exceptions import RayActorError

    monkeypatch.setattr("actors.replica._AWAY_S", 0.1)
    handle.answer = RayActorError()
    error = await minded(engine, 5)
    assert isinstance(error, RuntimeError) and "it is gone (RayActorError)" in str(error)


async def test_a_host_that_retires_is_not_waited_for_when_it_dies(host, handle):
    from ray.exceptions import RayActorError

    task = asyncio.create_task(minded(host.it, 5))
    while not host.pool.open:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.005)
    await host.pool._places.take()
    host.nodes.draining = frozenset({"n"})
    handle.answer = RayActorError()
    assert "it is gone" in str(await asyncio.wait_for(task, 5))
    assert host.pool.open == 0
