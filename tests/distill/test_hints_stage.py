"""The hints stage: what a budget stops with a paid endpoint, what a larger one buys, and a bank that was made elsewhere."""

import json
import logging
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.chat import Completion
from actors.store import TRAJECTORIES
from actors.trajectory import TRAJECTORY_SCHEMA, to_row
from distill.config import StudyConfig
from distill.hints.bank import Bank, BankError, ordered_bank
from distill.hints.hint import Hint, Writing, hint_of
from distill.hints.writer import BudgetReachedError
from distill.runners import FleetHolder, StudyRunners
from distill.stages import StageError, StageStore, run_stages
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

    def run_with(writer=None, **changes):
        config = StudyConfig.model_validate(
            {
                "name": "s",
                "env": {"name": "scripted", "num_tasks": 40},
                "tasks": {"train": FAILURES, "test": 4},
                "arms": ["base", "teacher"],
                "agent": {"prompt": "brief"},
                "model": {"kind": "scripted"},
                "writer": writer or WRITER | {"base_url": server.url} | changes,
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


@pytest.fixture
def imported(tmp_path):
    """A bank on disk: one hint without a source, and one more for each (source, task) that is asked for."""

    def save(*tasks: str, text: str = "Heat the {object} first.") -> Path:
        writings = [Writing(source=f"t{n}", text=text, writer="w", task=task) for n, task in enumerate(tasks)]
        hints = [hint_of(writings, text, kind="k", env="scripted")] if tasks else []
        by_hand = Hint(text=HINT["hints"][0]["text"], kind="k", env="scripted", sources=(), writer="me")
        ordered_bank([by_hand, *hints]).save(tmp_path / "mine.parquet")
        return tmp_path / "mine.parquet"

    return save


def study_with(bank: Path, arms: list[str], **limits) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "s",
            "env": {"name": "scripted", "num_tasks": 40},
            "tasks": {"train": FAILURES, "test": 4},
            "arms": arms,
            "agent": {"prompt": "brief"},
            "model": {"kind": "scripted"},
            "writer": WRITER,
            "bank": {"file": str(bank)} | limits,
        }
    )


def load_bank(config: StudyConfig, store: StageStore) -> dict:
    plan = plan_stages(config)
    run_stages([plan.tasks, plan.hints], store, StudyRunners(config, store, FleetHolder()).runners)
    return store.manifest(plan.hints)


def test_an_imported_bank_stands_in_for_the_writer(imported, tmp_path):
    store = StageStore(tmp_path / "store")
    config = study_with(imported("scripted/train/x", "scripted/train/y"), ["base", "teacher"])
    manifest = load_bank(config, store)
    assert (manifest["counts"]["imported hints"], manifest["counts"]["distinct hints"]) == (3, 2)
    [folder] = (tmp_path / "store").glob("hints-*")
    assert Bank.load(folder / "bank.parquet") == Bank.load(tmp_path / "mine.parquet")
    limited = study_with(tmp_path / "mine.parquet", ["base", "teacher"], min_count=2)
    assert load_bank(limited, store)["counts"]["distinct hints"] == 1


def test_only_what_needs_base_rollouts_plays_them_when_the_bank_is_imported(imported):
    def rollouts(*arms: str) -> list[str]:
        return list(plan_stages(study_with(imported(), ["base", *arms])).train_rollouts)

    assert rollouts("teacher", "teacher_random") == []
    assert rollouts("teacher", "distill") == ["teacher"]
    assert rollouts("distill", "baseline") == ["base", "teacher"]


def test_the_content_of_an_imported_bank_names_the_stage_and_its_path_does_not(imported, tmp_path):
    path = imported()
    elsewhere = tmp_path / "elsewhere.parquet"
    elsewhere.write_bytes(path.read_bytes())
    key = plan_stages(study_with(path, ["base", "teacher"])).hints.key
    assert plan_stages(study_with(elsewhere, ["base", "teacher"])).hints.key == key
    imported("scripted/train/x")
    assert plan_stages(study_with(path, ["base", "teacher"])).hints.key != key
    assert plan_stages(study_with(path, ["base", "teacher"], max_per_kind=1)).hints.key != key


def test_a_bank_from_tasks_of_the_panel_or_that_changed_on_the_way_is_refused(imported, tmp_path):
    store = StageStore(tmp_path / "store")
    config = study_with(imported(), ["base", "teacher"])
    plan = plan_stages(config)
    run_stages([plan.tasks], store, StudyRunners(config, store, FleetHolder()).runners)
    panel = Panel.load(store.folder(plan.tasks) / "test.panel.json")
    stained = study_with(imported(panel.tasks[0].key), ["base", "teacher"])
    with pytest.raises(StageError, match="has changed since the study was planned"):
        run_stages([plan.hints], store, StudyRunners(config, store, FleetHolder()).runners)
    with pytest.raises(BankError, match=f"mined from {panel.tasks[0].key}"):
        load_bank(stained, store)
    with pytest.raises(BankError, match="no bank at"):
        plan_stages(study_with(tmp_path / "none.parquet", ["base", "teacher"]))


def test_the_studys_own_model_writes_the_hints(run, tmp_path, monkeypatch):
    async def reply(self, messages, sampling, *, session):
        return Completion(
            text=json.dumps(HINT), prompt_tokens=9, cached_tokens=0, completion_tokens=9, finish_reason="stop"
        )

    monkeypatch.setattr("actors.scripted.ScriptedModel.__call__", reply)
    assert run(writer={"kind": "fleet"})["counts"]["hints"] == FAILURES
    [folder] = (tmp_path / "store").glob("hints-*")
    assert {row["writer"].split(":")[0] for row in pq.read_table(folder / "written.parquet").to_pylist()} == {
        "scripted"
    }


def test_the_fleets_model_is_part_of_what_names_the_stage_and_an_endpoint_has_no_fleet():
    settings = {
        "name": "s",
        "env": {"name": "scripted", "num_tasks": 40},
        "tasks": {"train": FAILURES, "test": 4},
        "arms": ["base", "teacher"],
        "agent": {"prompt": "brief"},
        "writer": {"kind": "fleet"},
    }

    def key_of(**changes):
        return plan_stages(StudyConfig.model_validate(settings | changes)).hints.config["writer"]

    own, skilled = (key_of(model={"kind": "scripted", "skill": skill}) for skill in (0.5, 0.6))
    assert own != skilled
    other = {"kind": "fleet", "model": {"kind": "vllm", "model": "pocket"}}
    assert key_of(model={"kind": "scripted"}, writer=other)["model"].startswith("pocket:")
    with pytest.raises(ValueError, match=r"use writer\.kind = 'openai'"):
        key_of(model={"kind": "openai", "model": "m"})


def test_the_key_is_in_no_file_of_a_study(run, server, tmp_path, monkeypatch, caplog):
    key = "sk-proj-no-key-but-a-canary-5e1f"  # pragma: allowlist secret
    monkeypatch.setenv("OPENAI_API_KEY", key)
    caplog.set_level(logging.DEBUG)
    run(max_cost_usd=100)
    assert {headers["authorization"] for _, headers, _ in server.requests} == {f"Bearer {key}"}
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if key.encode() in path.read_bytes()]
    assert key not in caplog.text
