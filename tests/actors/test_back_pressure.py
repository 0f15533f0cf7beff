"""A writer that is slow slows the hosts, and nothing grows meanwhile: not the hosts' boxes, not the writer's, not the driver's queue."""

import asyncio
from collections.abc import Sequence

import pytest
from test_driver import FakeHost, driver, specs_of
from test_line import GREEDY, Model, answer

from actors import mailbox as mailbox_module
from actors.agents import make_agent
from actors.chat import GenerateError
from actors.config import AgentConfig, BudgetConfig, SamplingConfig, ScriptedModelConfig
from actors.episode import EpisodeSpec
from actors.mailbox import Mailbox
from actors.owed import Owed
from actors.player import EpisodePlayer, PlayConfig, open_model
from actors.wire import Request
from envs.config import ScriptedConfig
from envs.registry import list_tasks

SLOTS = 4
ENV = ScriptedConfig(num_tasks=200)
MODEL = ScriptedModelConfig(skill=1.0)


def player_of(write):
    config = PlayConfig(
        env=ENV,
        agent=make_agent(AgentConfig(prompt="brief"), "scripted"),
        model=MODEL,
        budget=BudgetConfig(max_steps=3),
        sampling=SamplingConfig(),
        slots=SLOTS,
        flush_every_s=0.002,
    )
    return EpisodePlayer(config, open_model(MODEL), write)


def specs():
    return [EpisodeSpec(task=task, role="base", arm="base", seed=0) for task in list_tasks(ENV)]


class SlowDisk:
    """Writes nothing until it is let go."""

    def __init__(self):
        self.may_write, self.lines, self.batches = asyncio.Event(), [], []

    async def write(self, lines):
        await self.may_write.wait()
        self.batches.append(len(lines))
        self.lines += lines


async def settled(count):
    """Once it has stayed the same for a while."""
    before = -1
    while count() != before:
        before = count()
        await asyncio.sleep(0.1)
    return before


async def test_a_host_stops_playing_when_its_records_are_not_written():
    disk = SlowDisk()
    player = player_of(disk.write)
    ended = []
    attempt = player._attempt

    async def counted(spec):
        outcome = await attempt(spec)
        ended.append(spec.task.id)
        return outcome

    player._attempt = counted
    # Far more at a time than a driver gives: the host's own bound must hold.
    playing = [asyncio.create_task(player.play(spec, 0)) for spec in specs()]
    assert await settled(lambda: len(ended)) == 2 * SLOTS, (
        "as many wait for the disk, as many keep their slots"
    )
    disk.may_write.set()
    await asyncio.wait_for(asyncio.gather(*playing), 60)
    assert len(disk.lines) == len(ended) == ENV.num_tasks
    assert max(disk.batches) <= SLOTS


async def test_a_record_of_a_lost_episode_waits_like_any(tmp_path):
    from test_store import trajectory

    disk = SlowDisk()
    player = player_of(disk.write)
    waiting = [asyncio.create_task(player.record(trajectory(n))) for n in range(50)]
    await settled(lambda: len(player._outbox._waiting))
    assert len(player._outbox._waiting) <= SLOTS
    disk.may_write.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 30)
    assert len(disk.lines) == 50


async def test_many_hosts_at_one_slow_writer_wait_and_are_written_together(tmp_path):
    writer_module = pytest.importorskip("actors.writer")
    writer = writer_module.Writer(tmp_path)
    sizes, held, append = [], [], writer._sink.append

    def slow(lines):
        import time

        time.sleep(0.01)
        sizes.append(len(lines))
        append(lines)

    writer._sink.append = slow

    async def write(lines):
        writing = asyncio.create_task(writer.append(lines))
        await asyncio.sleep(0)
        held.append(len(writer._gathered))
        await writing

    hosts = [player_of(write) for _ in range(5)]
    asked = specs()
    await asyncio.wait_for(asyncio.gather(*(hosts[n % 5].play(spec, 0) for n, spec in enumerate(asked))), 120)
    await writer.close()
    assert sum(sizes) == len(asked)
    assert max(held) <= 5 * SLOTS
    assert len(sizes) < len(held), "what came during one write was written in one go"


async def test_a_writer_that_fails_tells_every_host_that_waits(tmp_path):
    writer = pytest.importorskip("actors.writer").Writer(tmp_path)

    def full(lines):
        raise OSError("no space left")

    writer._sink.append = full
    outcomes = await asyncio.gather(*(writer.append([str(n)]) for n in range(3)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no space left"] * 3


class Lazy(Sequence):
    """Makes an episode when it is asked for one, and counts."""

    def __init__(self, number):
        self.made, self.all = 0, specs_of(number)

    def __len__(self):
        return len(self.all)

    def __getitem__(self, position):
        self.made += 1
        return self.all[position]


async def test_the_driver_takes_an_episode_when_a_host_is_free_for_it():
    lazy, ahead = Lazy(300), []
    host = FakeHost(loses=lambda task, lost: task.endswith("7") and lost == 0)
    state = await driver(Owed(lazy), progress=lambda state: ahead.append(lazy.made - state.ended)).run(
        [host], in_flight=5
    )
    assert (state.ended, state.retries, lazy.made) == (300, 30, 300)
    assert max(ahead) <= 5


async def test_an_engine_holds_no_more_than_a_bound_for_a_line_that_does_not_collect(monkeypatch):
    monkeypatch.setattr(mailbox_module, "MOST_OPEN", 10)
    held = Mailbox(Model())

    def ask(*numbers):
        held.post(
            "line", [Request(number=n, prompt_ids=[7], sampling=GREEDY, adapter=None) for n in numbers], []
        )

    for number in range(10):
        ask(number)
        await asyncio.sleep(0)
    with pytest.raises(GenerateError, match="does not collect") as refused:
        ask(10)
    assert refused.value.retryable
    assert len((await held.collect("line")).replies) == 10
    ask(10)
    assert [reply.answer for reply in (await held.collect("line")).replies] == [answer(7)]


async def test_an_answer_that_nobody_waits_for_any_more_is_not_kept():
    held = Mailbox(Model(), poll_s=0.01)
    held.post(
        "line", [Request(number=n, prompt_ids=[7], sampling=GREEDY, adapter=None) for n in range(3)], []
    )
    await asyncio.sleep(0.01)
    held.post("line", [], [0, 2])
    assert [reply.number for reply in (await held.collect("line")).replies] == [1]
