"""The hints stage of a study whose writer is a paid endpoint: what a budget stops, and what a larger one buys."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.store import TRAJECTORIES
from actors.trajectory import TRAJECTORY_SCHEMA, to_row
from distill.config import StudyConfig
from distill.hints.writer import BudgetReachedError
from distill.runners import FleetHolder, StudyRunners
from distill.stages import StageStore, run_stages
from distill.study import plan_stages
from envs.panel import Panel

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package

from openai_server import GOOD, Server

HINT = {"hints": [{"text": "Open every closed {container} and look inside."}]}
WRITER = {
    "kind": "openai",
    "model": "m",
    "max_tokens": 100,
    "concurrency": 2,
    "usd_per_million_prompt_tokens": 10,
    "usd_per_million_completion_tokens": 20,
}
FAILURES = 8
CALL_USD = (1000 * 10 + 100 * 20) / 1e6


@pytest.fixture
def server():
    running = Server()
    message = {"role": "assistant", "content": json.dumps(HINT)}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    running.answers = [(200, {}, GOOD | {"choices": [choice], "usage": usage})]
    yield running
    running.close()


@pytest.fixture
def run(server, trajectory_of, tmp_path):
    """Runs a study's first stages; the base's episodes are made, not played. Returns the hints stage's manifest."""

    def rollout(stage, folder, store):
        panel = Panel.load(store.folder(stage.inputs["tasks"]) / "train.panel.json")
        lost = [trajectory_of(task, success=False) for task in panel.tasks]
        rows = pa.Table.from_pylist([to_row(t) for t in lost], schema=TRAJECTORY_SCHEMA)
        pq.write_table(rows, folder / TRAJECTORIES)
        return {"episodes": len(lost)}

    def run_with(**changes):
        config = StudyConfig.model_validate(
            {
                "name": "s",
                "env": {"name": "scripted", "num_tasks": 40},
                "tasks": {"train": FAILURES, "test": 4},
                "arms": ["base", "teacher"],
                "agent": {"prompt": "brief"},
                "model": {"kind": "scripted"},
                "writer": WRITER | {"base_url": server.url} | changes,
            }
        )
        plan, store = plan_stages(config), StageStore(tmp_path / "store")
        runners = StudyRunners(config, store, FleetHolder())
        stages = [plan.tasks, plan.train_rollouts["base"], plan.hints]
        run_stages(stages, store, {**runners.runners, "rollout": rollout})
        return store.manifest(plan.hints)

    return run_with


def test_a_budget_stops_the_stage_and_a_larger_one_pays_only_for_the_rest(run, server, tmp_path):
    with pytest.raises(BudgetReachedError, match=r"0\.0\d+ USD are spent and \d of 8 .*writer\.max_cost_usd"):
        run(max_cost_usd=4.5 * CALL_USD)
    bought = len(server.requests)
    assert 0 < bought < FAILURES
    [folder] = (tmp_path / "store").glob("hints-*")
    assert not (folder / "manifest.json").exists()
    with pytest.raises(BudgetReachedError):
        run(max_cost_usd=4.5 * CALL_USD)
    assert len(server.requests) == bought, "a second start with the same budget buys nothing"
    manifest = run(max_cost_usd=100)
    assert manifest["counts"]["hints"] == FAILURES
    assert len(server.requests) == FAILURES
    [same] = (tmp_path / "store").glob("hints-*")
    assert same == folder


def test_a_finished_stage_does_not_mind_the_budget(run, server):
    manifest = run(max_cost_usd=100)
    assert run(max_cost_usd=0.0001) == run() == manifest
    assert len(server.requests) == FAILURES


def test_going_on_is_asked_for_and_more_money_still_pays_nothing_twice(run, server):
    first = run(max_cost_usd=4.5 * CALL_USD, on_budget="go_on")
    bought = len(server.requests)
    assert 0 < bought == first["counts"]["hints"] < FAILURES
    assert run(max_cost_usd=100, on_budget="go_on")["counts"]["hints"] == FAILURES
    assert run(max_cost_usd=100)["counts"]["hints"] == FAILURES
    assert len(server.requests) == FAILURES
