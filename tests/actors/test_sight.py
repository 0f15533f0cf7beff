"""What is shown of a rollout while it runs: the line, the file, and that neither is left behind."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time

import pytest

from actors.chat import GenerateError
from actors.driver import Progress, RolloutError
from actors.meters import Ledger
from actors.player import OneModel
from actors.process_mark import ProcessMark
from actors.rollout import rollout_local
from actors.scripted import ScriptedModel
from actors.sight import PROGRESS, RolloutSight
from actors.standing import Recent, Standing, Window
from actors.status_line import clock, duration, status_line
from actors.store import TRAJECTORIES

NOON = time.mktime((2026, 5, 4, 12, 0, 0, 0, 0, -1))


def standing(**changes):
    whole = {
        "name": "eval-teacher-s1",
        "asked": 1000,
        "before": 12,
        "ended": 300,
        "successes": 114,
        "retries": 4,
        "errors": 0,
        "in_flight": 41,
        "recent": Recent(
            seconds=600,
            episodes=200,
            prompt_tokens=3_000_000,
            cached_tokens=2_700_000,
            completion_tokens=180_000,
        ),
        "updated": NOON,
        "losses": {"engine N died": 4},
    }
    return Standing(**(whole | changes))


def test_the_line_says_all_that_is_known():
    assert status_line(standing()) == (
        "eval-teacher-s1: 312 of 1,000 episodes, 41 in flight, 1,200 episodes/h, 5,000 + 300 tokens/s read + written, "
        "90% from cache, 38% won so far (unadjusted), 4 retries, 0 errors; done about 12:34, in 34 min"
    )


def test_the_line_of_a_rollout_that_has_only_begun_promises_nothing():
    new = standing(ended=0, successes=0, errors=0, retries=0, before=0, recent=Recent(seconds=10))
    assert status_line(new) == (
        "eval-teacher-s1: 0 of 1,000 episodes, 41 in flight, 0 episodes/h, 0 retries, 0 errors; no episode has ended yet"
    )
    assert status_line(standing(ended=988, in_flight=0)).endswith("; all have ended")


def test_lost_episodes_are_no_part_of_the_share_that_was_won():
    assert "57% won" in status_line(standing(ended=300, errors=100, successes=114))


@pytest.mark.parametrize(
    "seconds, said",
    [(5, "5 s"), (100, "2 min"), (5000, "83 min"), (12_000, "3 h 20 min"), (200_000, "2 d 7 h")],
)
def test_durations_have_two_units(seconds, said):
    assert duration(seconds) == said


def test_another_day_is_named():
    assert clock(NOON + 3600, NOON) == "13:00"
    assert clock(NOON + 86_400, NOON) == "Tue 05 May 12:00"


def test_rates_are_of_the_last_minutes():
    now = [0.0]
    window = Window(window_s=100, clock=lambda: now[0])
    window.read(0, 0, 0, 0)
    for minute in range(1, 20):
        now[0] += 20
        recent = window.read(minute, 10 * minute, 5 * minute, minute)
    assert recent == Recent(seconds=100, episodes=5, prompt_tokens=50, cached_tokens=25, completion_tokens=5)
    assert recent.episodes_per_hour == 180 and recent.cache_share == 0.5


def test_a_standing_comes_back_as_it_went_and_later_fields_are_passed_over():
    document = json.loads(json.dumps(standing().to_json()))
    document |= {"moon": "full"}
    document["recent"]["moon"] = 1
    assert Standing.from_json(document) == standing()
    with pytest.raises(TypeError):
        Standing.from_json({"name": "x"})


async def test_the_file_beats_while_the_rollout_runs(tmp_path, caplog):
    caplog.set_level(logging.INFO, "actors.sight")
    sight = RolloutSight(tmp_path, "mine", asked=10, owed=7, beat_s=0.01, line_s=0.05)
    state, seen = Progress(total=7), []
    async with sight.shown():
        sight.follow(state)
        until = time.monotonic() + 20
        while len(seen) < 3 and time.monotonic() < until:
            state.ended = len(seen)
            await asyncio.sleep(0.05)
            document = json.loads((tmp_path / PROGRESS).read_text())
            if document["ended"] == state.ended:
                seen.append(document)
    assert [one["ended"] for one in seen] == [0, 1, 2]
    assert {one["state"] for one in seen} == {"running"}
    assert ProcessMark.from_json(seen[-1]["writer"]) == ProcessMark.here()
    assert Standing.from_json(seen[-1]).done == 3 + 2
    assert len(caplog.messages) >= 2 and all(line.startswith("mine: ") for line in caplog.messages)
    sight.end()
    assert not list(tmp_path.iterdir())


async def test_a_slow_write_does_not_come_back_behind_the_end(tmp_path):
    class Slow(RolloutSight):
        writes = 0

        def _write(self, state, *more, **named):
            if state == "running":
                time.sleep(0.1 * (self.writes > 0))
                self.writes += 1
            super()._write(state, *more, **named)

    sight = Slow(tmp_path, "mine", asked=1, owed=1, beat_s=0.01)
    async with sight.shown():
        await asyncio.sleep(0.05)
    assert json.loads((tmp_path / PROGRESS).read_text())["state"] == "writing its result"
    sight.end()
    await asyncio.sleep(0.3)
    assert sight.writes > 1 and not list(tmp_path.iterdir())


async def test_an_interrupted_rollout_says_so(tmp_path):
    async def play():
        async with RolloutSight(tmp_path, "mine", asked=1, owed=1).shown():
            await asyncio.sleep(60)

    task = asyncio.create_task(play())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    document = json.loads((tmp_path / PROGRESS).read_text())
    assert (document["state"], document["reason"]) == ("stopped", "it was interrupted")


async def test_what_breaks_the_showing_does_not_break_the_rollout(tmp_path, caplog, monkeypatch):
    sight = RolloutSight(tmp_path, "mine", asked=1, owed=1, beat_s=0.01)
    monkeypatch.setattr("actors.sight.asyncio.to_thread", lambda *_: 1 / 0)
    async with sight.shown():
        await asyncio.sleep(0.1)
    assert "mine was no longer shown: ZeroDivisionError" in caplog.text


async def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    async with RolloutSight(tmp_path / "file", "mine", asked=1, owed=1).shown():
        pass
    assert "cannot be written" in caplog.text


async def test_a_folder_elsewhere_has_no_file_and_still_a_line(caplog):
    caplog.set_level(logging.INFO, "actors.sight")
    sight = RolloutSight(None, "mine", asked=1, owed=1)
    async with sight.shown():
        pass
    sight.end()
    [line] = caplog.messages
    assert line.startswith("mine: 0 of 1 episodes, 0 in flight")


async def test_gauges_follow_the_drivers(tmp_path):
    ledger, sight = (
        Ledger(common={"run": "r", "rollout": "mine"}),
        RolloutSight(tmp_path, "mine", asked=10, owed=7),
    )
    first, second = Progress(total=4, ended=4, retries=2), Progress(total=3, ended=1, in_flight=2, errors=1)
    async with sight.shown(ledger):
        sight.follow(first)
        sight.follow(second)
        delivery = ledger.take()
    values = {metric.name: n for (metric, _), n in (delivery.gauges | delivery.counts).items()}
    assert values.pop("offbook_silent_seconds") < 60
    assert values == {
        "offbook_episodes_owed": 2.0,
        "offbook_episodes_in_flight": 2.0,
        "offbook_retries": 2.0,
        "offbook_episodes_given_up": 1.0,
    }


def test_a_rollout_leaves_no_trace_of_being_watched(tmp_path, caplog):
    from test_rollout import settings, specs_of

    caplog.set_level(logging.INFO, "actors")
    rollout_local(specs_of(), settings(), tmp_path)
    assert (tmp_path / TRAJECTORIES).exists()
    assert not list(tmp_path.glob("*progress*"))
    assert any("40 of 40 episodes" in line and "all have ended" in line for line in caplog.messages)


def test_a_rollout_that_stopped_says_why_and_the_next_start_takes_it_away(tmp_path):
    from test_rollout import MODEL, settings, specs_of

    class Refusing:
        async def __call__(self, messages, sampling, *, session):
            raise GenerateError("status 401 for key 7", retryable=False)

    with pytest.raises(RolloutError):
        rollout_local(specs_of(), settings(), tmp_path, models=OneModel(Refusing()))
    document = json.loads((tmp_path / PROGRESS).read_text())
    assert document["state"] == "stopped"
    assert "status 401 for key 7" in document["reason"]
    assert set(document["losses"]) == {"status N for key N"}
    assert document["in_flight"] == 0
    rollout_local(specs_of(), settings(), tmp_path, models=OneModel(ScriptedModel(MODEL)))
    assert not list(tmp_path.glob("*progress*"))


def test_reasons_of_losses_are_grouped_and_bounded():
    state = Progress(total=1)
    for n in range(200):
        state.note_loss(f"host {n} died: ActorDiedError\nand more")
        state.note_loss(chr(97 + n % 26) * (n + 1))
    assert state.losses["host N died: ActorDiedError"] == 200
    assert len(state.losses) <= 33 and state.losses["other"] > 100


def test_a_process_is_told_from_another_one_with_its_pid():
    me = ProcessMark.here()
    assert me.is_alive and me.pid == os.getpid()
    assert ProcessMark.from_json(me.to_json()) == me
    assert ProcessMark.from_json({"pid": "x"}) is None and ProcessMark.from_json(None) is None
    if me.born is not None:
        assert not ProcessMark(host=me.host, pid=me.pid, born=me.born - 1).is_alive
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert ProcessMark(host=me.host, pid=gone.pid).is_alive is False
    assert ProcessMark(host="another-machine", pid=1).is_alive is None
