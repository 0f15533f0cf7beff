"""A study's run folder and store as a finished run leaves them, without playing or training anything."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.store import TRAJECTORIES
from actors.trajectory import TRAJECTORY_SCHEMA, to_row
from distill.config import StudyConfig
from distill.dataset_card import Tally, write_card
from distill.hints.bank import Bank
from distill.hints.hint import written_hint
from distill.hints.writer import SUMMARY
from distill.pipeline import _write_run
from distill.results import build_results, results_text
from distill.stages import Stage, StageStore
from distill.study import StudyPlan, plan_stages
from train.schema import SFT_SCHEMA, TOKENS_SCHEMA

ARMS = ("base", "teacher", "baseline", "distill")
STEPS = 5


def small_study(**changes: Any) -> StudyConfig:
    settings = {
        "name": "small",
        "seeds": [0, 1],
        "arms": ARMS,
        "env": {"name": "scripted", "num_tasks": 100},
        "tasks": {"train": 20, "test": 12},
        "agent": {"prompt": "brief"},
        "model": {"kind": "scripted"},
        "writer": {"kind": "diagnostician"},
    }
    return StudyConfig.model_validate(settings | changes)


class FinishedRun:
    """`config` as if it had been run under `out`; stages may also be finished one by one."""

    def __init__(self, out: Path, config: StudyConfig, panel: Any, arms_of: Callable[..., Any]):
        self.config, self.panel = config, panel
        self.plan: StudyPlan = plan_stages(config)
        self.store = StageStore(out / "store")
        self.run_dir = out / config.name
        self.arms = arms_of(panel, dict.fromkeys(config.arms, 0.5), seeds=config.seeds)
        _write_run(self.run_dir, config, self.plan, self.store)

    def finish_all(self) -> "FinishedRun":
        for stage in self.plan.stages:
            self.finish(stage)
        results = build_results(self.config.name, self.panel, self.arms, resamples=100)
        (self.run_dir / "report").mkdir()
        (self.run_dir / "report" / "results.json").write_text(results_text(results))
        return self

    def finish(self, stage: Stage) -> None:
        with self.store.working(stage) as folder:
            counts = self._write(stage, folder)
            self.store.finish(stage, counts, 1.5)

    def _write(self, stage: Stage, folder: Path) -> Mapping[str, Any]:
        if stage.kind == "tasks":
            self.panel.save(folder / "test.panel.json")
        elif stage.kind == "rollout":
            return self._play(stage, folder)
        elif stage.kind == "dataset":
            return write_dataset(folder, stage.config["arm"])
        elif stage.kind == "fit":
            return write_fit(folder)
        elif stage.kind == "hints":
            return self._write_hints(folder)
        return {"train tasks": 20, "test tasks": len(self.panel.tasks)}

    def _write_hints(self, folder: Path) -> Mapping[str, Any]:
        lost = [t for t in self.arms["base"] if not t.success]
        given = self.arms["teacher"][0].hints[0]
        hint = written_hint(given.text, lost[0], "diagnostician")
        Bank(hints=(hint,)).save(folder / "bank.parquet")
        (folder / SUMMARY).write_text(json.dumps({"prompt_tokens": 0, "completion_tokens": 0, "usd": 0.0}))
        return {"failures": len(lost), "hints": 1, "distinct hints": 1}

    def _play(self, stage: Stage, folder: Path) -> Mapping[str, Any]:
        arm, seed = stage.config["arm"], stage.config["seed"]
        own = [to_row(t) for t in self.arms.get(arm, ()) if t.seed == seed]
        pq.write_table(pa.Table.from_pylist(own, schema=TRAJECTORY_SCHEMA), folder / TRAJECTORIES)
        tokens = dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), 10 * len(own))
        return {"episodes": len(own), "successes": sum(row["success"] for row in own), "errors": 0, **tokens}


def write_fit(folder: Path) -> Mapping[str, Any]:
    lines = [{"step": i, "epoch": 0, "loss": 1 / (i + 1), "lr": 1e-3} for i in range(STEPS)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    config = {"peft_type": "LORA", "r": 2, "base_model_name_or_path": "/home/me/models/tiny"}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    adapter = {"base": "/home/me/models/tiny", "base_sha256": "b" * 64, "rows_sha256": "c" * 64}
    (folder / "adapter" / "adapter.json").write_text(json.dumps(adapter))
    return {"steps": STEPS, "tokens": 90, "loss": 0.2}


def write_dataset(folder: Path, arm: str, num_rows: int = 3) -> Mapping[str, Any]:
    """A sealed dataset of made-up rows."""
    tally = Tally(arm=arm, num_hints=4, on_leak="fail", max_length=2048, filters={})
    messages = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "> go to fridge 1"}]
    rows = [
        {"messages": messages, "task_id": f"t{i}", "trajectory_id": f"e{i}", "arm": arm, "seed": 0}
        for i in range(num_rows)
    ]
    tokens = [
        row | {"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4], "num_tokens": 4, "num_loss_tokens": 2}
        for row in rows
    ]
    for row in tokens:
        kept = {
            "num_tokens": 4,
            "num_loss_tokens": 2,
            "num_prompt_tokens": 2,
            "num_hints": 1,
            "kind": "k",
            "part": 0,
        }
        assert tally.add(row | kept | {"broken": "", "left_out": "", "leaks": []})
    pq.write_table(pa.Table.from_pylist(rows, schema=SFT_SCHEMA), folder / "rows.parquet")
    pq.write_table(pa.Table.from_pylist(tokens, schema=TOKENS_SCHEMA), folder / "tokens.parquet")
    summary = write_card(
        tally,
        folder,
        rows=folder / "rows.parquet",
        tokens=folder / "tokens.parquet",
        sources=(),
        agent="react-3f2a91",
        model_path="/home/me/models/tiny",
    )
    return {"rows": summary.num_rows, "tokens": summary.num_tokens}
