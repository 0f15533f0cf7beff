"""How a run stands, told from its files: by a process that is not the run's own, after a kill, and from another machine."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package

from finished_runs import SCRIPTED, finished_run

from actors.process_mark import ProcessMark
from actors.sight import PROGRESS
from actors.standing import Recent, Standing
from distill.cli import main
from distill.config import StudyConfig
from distill.pipeline import _write_run
from distill.sight.run_status import read_status
from distill.sight.stage_state import State
from distill.sight.status_text import to_json, to_lines, to_rows
from distill.stages import MANIFEST, Stage, StageStore, lock_file
from distill.study import plan_stages

REPOSITORY = Path(__file__).parents[2]
NOW = 1_800_000_000.0
PAID = SCRIPTED.replace(
    'model = { kind = "scripted", skill = 0.2 }',
    'model = { kind = "openai", model = "m", base_url = "http://127.0.0.1:9/v1" }\n'
    "prices = { models = { m = { usd_per_million_prompt_tokens = 2.0, usd_per_million_cached_tokens = 1.0, "
    'usd_per_million_completion_tokens = 10.0, date = "2026-01-01", source = "a list" } } }',
)
PLAYING = """
import sys, tomllib
from pathlib import Path
sys.path.insert(0, "tests/distill")
from finished_runs import SCRIPTED, without_engines
from actors.sight import RolloutSight
from distill.config import StudyConfig
from distill.pipeline import _write_run
from distill.runners import FleetHolder, StudyRunners
from distill.stages import StageStore, run_stages
from distill.study import plan_stages

RolloutSight.__init__.__kwdefaults__["beat_s"] = 0.1
out = Path(sys.argv[1])
slow = SCRIPTED.replace("skill = 0.2", "skill = 0.2, latency_s = 0.02").replace("flush_every_s", "slots_per_host = 1, flush_every_s")
config = StudyConfig.model_validate(tomllib.loads(slow))
plan, store = plan_stages(config), StageStore(out / "store")
_write_run(out / config.name, config, plan, store)
own = StudyRunners(config, store, FleetHolder())
with without_engines():
    run_stages(plan.stages, store, own.runners, own.together)
"""


@pytest.fixture
def playing(tmp_path):
    """A process that plays a study for minutes, and the run's folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", PLAYING, str(tmp_path)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    yield process, tmp_path / "scripted"
    process.kill()
    process.wait()


def wait_for(run_dir, condition, process):
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if (run_dir / "run.json").exists() and condition(status := read_status(run_dir)):
            return status
        time.sleep(0.1)
    raise AssertionError("it did not come to that")


def begun(out, study=SCRIPTED):
    """A run of which nothing is played; its folder, and its stages' folders by name."""
    config = StudyConfig.model_validate(tomllib.loads(study))
    plan, store = plan_stages(config), StageStore(out / "store")
    _write_run(out / config.name, config, plan, store)
    return out / config.name, {stage.name: store.folder(stage) for stage in plan.stages}


def beat(folder, *, mark, state="running", reason=None, **changes):
    """What a rollout leaves in its folder."""
    whole = {"name": "x", "asked": 30, "before": 5, "ended": 10, "began": NOW - 1000, "updated": NOW - 5}
    standing = Standing(**(whole | {"last_ended": NOW - 60} | changes))
    document = {"state": state, "reason": reason, "every_s": 10.0, "writer": mark.to_json()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRESS).write_text(json.dumps(document | standing.to_json()))
    lock_file(folder).write_text(
        json.dumps(mark.to_json() | {"since": NOW - 1000}) if state == "running" else ""
    )


def test_a_run_is_watched_from_another_process_and_seen_to_be_killed(playing, capsys):
    process, run_dir = playing
    status = wait_for(run_dir, lambda s: s.running and s.episodes_per_hour and s.episodes[0] > 2, process)
    [stage] = status.running
    assert (stage.name, stage.writer.pid, stage.is_alive) == ("train-base", process.pid, True)
    done, asked = status.episodes
    assert 2 < done < 30 < asked and status.remaining_s > 0
    assert stage.standing.in_flight >= 1 and stage.standing.recent.prompt_tokens > 0
    assert not status.warnings and "at work: pid" in "\n".join(to_lines(status))
    process.send_signal(signal.SIGKILL)
    process.wait()
    after = read_status(run_dir)
    assert after.stages[1].state is State.CRASHED and not after.running
    [warning] = after.warnings
    assert f"pid {process.pid}" in warning and "`offbook run` goes on" in warning
    assert main(["status", str(run_dir)]) == 0
    shown = capsys.readouterr().out
    assert "crashed" in shown and "nobody is at work" in shown and "! train-base: pid" in shown


def test_a_finished_run_owes_nothing_and_its_outputs_name_no_progress(tmp_path, capsys):
    run_dir = finished_run(tmp_path)
    status = read_status(run_dir)
    assert status.is_done and status.episodes[0] == status.episodes[1] == 30 + 4 * 15
    assert status.money.unpriced and status.errors == 0 and status.disk_bytes > 10_000
    outputs = [json.loads(path.read_text())["outputs"] for path in tmp_path.glob(f"store/*/{MANIFEST}")]
    assert outputs and not [name for one in outputs for name in one if "progress" in name]
    assert all(path.read_text() == "" for path in tmp_path.glob("store/.*.lock"))
    assert main(["status", str(run_dir), "--json", "--watch"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"] == {"done": len(status.stages)}
    assert document["usd"]["known"] == 0 and document["warnings"] == []


def test_an_empty_folder_is_no_run_and_a_run_that_has_not_begun_owes_all(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["status", str(tmp_path / "empty")]) == 2
    assert "holds no run.json" in capsys.readouterr().err
    run_dir, _ = begun(tmp_path)
    status = read_status(run_dir)
    assert {stage.state for stage in status.stages} == {State.OWED}
    assert status.episodes == (0, 30 + 4 * 15)
    assert status.remaining_s is None and status.last_progress is None
    assert "cannot be said" in "\n".join(to_lines(status))


def test_a_rollout_in_which_nothing_ends_is_warned_of(tmp_path):
    run_dir, folders = begun(tmp_path)
    mark = ProcessMark.here()
    beat(folders["train-base"], mark=mark, last_ended=NOW - 14 * 60)
    [warning] = read_status(run_dir, NOW).warnings
    assert warning == "train-base: no episode has ended for 14 min"
    beat(folders["train-base"], mark=mark, last_ended=NOW - 14 * 60, began=NOW - 100_000)
    assert not read_status(run_dir, NOW).warnings, "one whose episodes take hours is not quiet after minutes"
    beat(folders["train-base"], mark=mark, ended=0, last_ended=None, began=NOW - 3000)
    assert "no episode has ended for 50 min" in read_status(run_dir, NOW).warnings[0]


def test_a_process_that_lives_and_tells_nothing_is_warned_of(tmp_path):
    run_dir, folders = begun(tmp_path)
    beat(folders["train-base"], mark=ProcessMark.here(), updated=NOW - 200)
    status = read_status(run_dir, NOW)
    assert status.stages[1].state is State.RUNNING
    assert "lives, but has told nothing for 3 min" in status.warnings[0]


def test_on_another_machine_the_file_alone_tells(tmp_path):
    run_dir, folders = begun(tmp_path)
    there = ProcessMark(host="another-machine", pid=7, born=1)
    beat(folders["train-base"], mark=there, updated=NOW - 20)
    assert read_status(run_dir, NOW).stages[1].state is State.RUNNING
    assert read_status(run_dir, NOW + 300).stages[1].state is State.CRASHED
    lock_file(folders["hints"]).write_text(json.dumps(there.to_json() | {"since": NOW}))
    status = read_status(run_dir, NOW + 300)
    assert status.stages[2].state is State.HELD
    assert "pid 7 on another-machine (cannot be seen from here)" in "\n".join(to_lines(status))


def test_a_rollout_that_stopped_says_why(tmp_path):
    run_dir, folders = begun(tmp_path)
    reason = "episode after episode was lost"
    # This process, which left it, lives on: as a notebook does in which a rollout was stopped.
    mark = ProcessMark.here()
    beat(folders["train-base"], mark=mark, state="stopped", reason=reason, losses={"it broke": 9})
    status = read_status(run_dir, NOW)
    assert status.stages[1].state is State.STOPPED
    assert status.warnings == (f"train-base stopped: {reason}",)
    assert "  9 attempts lost: it broke" in list(to_lines(status))


def test_rates_finish_and_money_follow_from_what_is_recorded(tmp_path):
    run_dir, folders = begun(tmp_path, PAID)
    beat(
        folders["train-base"],
        mark=ProcessMark.here(),
        prompt_tokens=3_000_000,
        cached_tokens=2_000_000,
        completion_tokens=100_000,
        errors=1,
        retries=2,
        recent=Recent(seconds=600, episodes=5, prompt_tokens=1000, cached_tokens=500, completion_tokens=100),
    )
    status = read_status(run_dir, NOW)
    assert status.episodes == (15, 30 + 4 * 15)
    assert status.episodes_per_hour == 30
    assert status.remaining_s == pytest.approx(75 / 30 * 3600)
    assert status.not_in_remaining == {"tasks": 1, "hints": 1}
    assert (status.errors, status.retries, status.last_progress) == (1, 2, NOW - 60)
    assert status.money.known == pytest.approx(1.0 * 2 + 2.0 * 1 + 0.1 * 10)
    assert status.money.unpriced == ()
    [_, row, *_] = to_rows(status)
    assert row[1:3] == ("running", "15 of 30 episodes (50%)")
    assert "in 2 h 30 min; 1 tasks, 1 hints not counted" in "\n".join(to_lines(status))
    assert to_json(status)["usd"]["known"] == status.money.known
    json.dumps(to_json(status))


def test_gpu_hours_of_what_runs_are_counted_up_to_now(tmp_path):
    study = SCRIPTED.replace(
        'model = { kind = "scripted", skill = 0.2 }',
        'model = { kind = "vllm", model = "pocket", device = "cuda", replicas = 2 }\n'
        'prices = { usd_per_gpu_hour = 3.6, gpu_hour_date = "2026-01-01", gpu_hour_source = "a bill" }',
    )
    run_dir, folders = begun(tmp_path, study)
    beat(folders["train-base"], mark=ProcessMark.here())
    assert read_status(run_dir, NOW).money.known == pytest.approx(1000 * 2 * 3.6 / 3600)


def test_a_fit_tells_its_step(tmp_path):
    run_dir, folders = begun(tmp_path, STUDENT)
    fit = folders["fit-baseline-s0"]
    fit.mkdir(parents=True)
    step = {"step": 11, "epoch": 1, "loss": 0.4321, "tokens_per_s": 812.0, "tokens": 64}
    (fit / "metrics.jsonl").write_text(json.dumps(step) + '\n{"step": 12, "los')
    lock_file(fit).write_text(json.dumps(ProcessMark.here().to_json() | {"since": NOW}))
    row = next(row for row in to_rows(read_status(run_dir)) if row[0] == "fit-baseline-s0")
    assert row[1:3] == ("running", "step 12, epoch 2, loss 0.432")
    assert "812 tokens/s" in row[3]


STUDENT = SCRIPTED.replace('arms = ["base", "teacher"]', 'arms = ["base", "baseline"]').replace(
    'model = { kind = "scripted", skill = 0.2 }', 'model = { kind = "vllm", model = "pocket" }'
)


def test_a_damaged_file_hides_nothing_else(tmp_path):
    run_dir, folders = begun(tmp_path)
    for name, text in {"train-base": '{"ended": 3', "tasks": '{"version": 9}'}.items():
        folders[name].mkdir(parents=True)
        (folders[name] / PROGRESS).write_text(text)
    status = read_status(run_dir, NOW)
    assert [stage.state for stage in status.stages[:2]] == [State.STOPPED, State.STOPPED]


def test_who_works_on_a_stage_is_written_beside_it_and_taken_back(tmp_path):
    store = StageStore(tmp_path)
    stage = Stage(name="a", kind="k", version=1, config={})
    with store.working(stage) as folder:
        assert ProcessMark.from_json(json.loads(lock_file(folder).read_text())) == ProcessMark.here()
    assert lock_file(folder).read_text() == ""
    with pytest.raises(RuntimeError), store.working(stage):
        raise RuntimeError
    assert lock_file(folder).read_text() == ""
