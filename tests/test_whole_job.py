"""The whole job: a study from its file to its report. On the scripted world without a model; with the pocket model in full."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.trajectory import Trajectory, from_row

SCRIPTED = """
name = "scripted"
seeds = [0, 1]
arms = ["base", "teacher", "teacher_random"]

[env]
name = "scripted"
num_tasks = 100
step_latency_s = {latency}

[tasks]
train = 30
test = 15

[agent]
prompt = "brief"

[model]
kind = "scripted"
skill = 0.2

[budget]
max_steps = 30

[rollout]
flush_every_s = 0.05

[writer]
kind = "diagnostician"
"""


def offbook(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "distill.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        program, cwd=cwd, env=environment, capture_output=True, text=True, check=check, timeout=280
    )


def episodes(out: Path) -> dict[str, Trajectory]:
    """Every trajectory of every stage by its id."""
    rows = [
        row
        for path in out.glob("store/rollout-*/trajectories.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    return {row["id"]: from_row(row) for row in rows}


def timeless(trajectory: Trajectory) -> tuple:
    """What a replay must reproduce: everything but times and what happened to lie in the cache."""
    turns = tuple((t.reply, t.action, t.executed, t.observation, t.valid, t.reward) for t in trajectory.turns)
    return (
        trajectory.task,
        trajectory.seed,
        trajectory.hints,
        trajectory.opening,
        turns,
        trajectory.end,
        trajectory.score,
    )


@pytest.mark.ray
def test_a_study_runs_reports_and_is_cached(tmp_path):
    (tmp_path / "study.toml").write_text(SCRIPTED.format(latency=0))
    offbook("run", "study.toml", cwd=tmp_path)
    results = json.loads((tmp_path / "runs/scripted/report/results.json").read_text())
    arms = {arm["name"]: arm for arm in results["arms"]}
    assert {name: arm["n"] for name, arm in arms.items()} == {"base": 30, "teacher": 30, "teacher_random": 30}
    assert arms["teacher"]["success_rate"] > arms["base"]["success_rate"]
    assert {(row["a"], row["b"]) for row in results["comparisons"]} >= {
        ("teacher", "base"),
        ("teacher", "teacher_random"),
    }
    page = (tmp_path / "runs/scripted/report/report.html").read_text()
    assert results["panel"]["sha256"][:12] in page
    began = time.monotonic()
    again = offbook("run", "study.toml", cwd=tmp_path)
    assert "teacher" in again.stdout
    assert time.monotonic() - began < 20
    plan = json.loads(offbook("plan", "study.toml", "--json", cwd=tmp_path).stdout)
    assert {stage["state"] for stage in plan["stages"]} == {"cached"}
    told = json.loads(offbook("attribute", "runs/scripted", "--flips", "4", "--json", cwd=tmp_path).stdout)
    # A scripted flip repeats, and the shares of each episode's hints add up to its one win.
    assert (told["num_flips"], told["num_unstable"], told["num_broken"]) == (4, 0, 0)
    assert sum(hint["shapley"] * hint["num_flips"] for hint in told["hints"]) == pytest.approx(4)
    refused = offbook("attribute", "runs/scripted", "--arm", "base", cwd=tmp_path, check=False)
    assert refused.returncode == 2 and "it has teacher, teacher_random" in refused.stderr


GRID = """
extends = "study.toml"
name = "sweep"
arms = ["base", "teacher", "guarded"]

[arm.guarded]
kind = "hinted"
retriever = { name = "guard" }

[grid]
k = { key = "retriever.k", values = [1, 3] }
"""


@pytest.mark.ray
def test_a_grid_runs_on_one_cluster_shares_its_stages_and_can_be_widened(tmp_path):
    (tmp_path / "study.toml").write_text(SCRIPTED.format(latency=0))
    (tmp_path / "grid.toml").write_text(GRID)
    planned = json.loads(offbook("ablate", "grid.toml", "--plan", "--json", cwd=tmp_path).stdout)
    assert [cell["shared"] > 0 for cell in planned["cells"]] == [False, True]
    done = offbook("ablate", "grid.toml", cwd=tmp_path)
    assert done.stderr.count("ray is up") == 1
    report = tmp_path / "runs/sweep/report"
    results = json.loads((report / "results.json").read_text())
    # The guard's block says the same under every k, so it is played once and stands there once.
    assert {arm["name"]: arm["n"] for arm in results["arms"]} == dict.fromkeys(
        ("base", "teacher [k1]", "teacher [k3]", "guarded"), 30
    )
    assert ("teacher [k3]", "teacher [k1]") in {(row["a"], row["b"]) for row in results["comparisons"]}
    assert "teacher [k3]" in (report / "report.html").read_text()
    assert (tmp_path / "runs/sweep.k3/report/report.html").is_file()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/store/*/manifest.json")}
    offbook("ablate", "grid.toml", "--set", "grid.k.values=[1, 3, 5]", cwd=tmp_path)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    wider = json.loads((report / "results.json").read_text())
    assert "teacher [k5]" in {arm["name"] for arm in wider["arms"]}
    refused = offbook("run", "grid.toml", cwd=tmp_path, check=False)
    assert refused.returncode == 2 and "offbook ablate grid.toml" in refused.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_kill_9_at_any_moment_changes_no_episode(tmp_path):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.toml").write_text(SCRIPTED.format(latency=0.01))
    offbook("run", "study.toml", cwd=tmp_path / "whole")
    program = [sys.executable, "-m", "distill.cli", "run", "study.toml"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    kills = 0
    for patience in (4, 7, 5, 9, 6, 11, 8):
        process = subprocess.Popen(
            program,
            cwd=tmp_path / "broken",
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    offbook("run", "study.toml", cwd=tmp_path / "broken")
    assert kills >= 3
    whole, broken = episodes(tmp_path / "whole/runs"), episodes(tmp_path / "broken/runs")
    assert {id_: timeless(t) for id_, t in broken.items()} == {id_: timeless(t) for id_, t in whole.items()}
