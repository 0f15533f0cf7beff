"""Training runs as tests ask for them, and what is left of them."""

import json
from pathlib import Path

from train.loop import Job, WorkerSettings


def make_job(folder: Path, rows: Path, *, seed: int = 3) -> Job:
    return Job(
        name="a", rows=str(rows), folder=str(folder), seed=seed, key=f"key-{seed}", identity={"base": "tiny"}
    )


def settings_for(config, model: Path, folder: Path, rows: Path, **changes) -> WorkerSettings:
    changed = config.model_copy(update=changes)
    return WorkerSettings(config=changed, model=str(model), jobs=(make_job(folder, rows),))


def curve(folder: Path) -> list[tuple[float, float]]:
    return [
        (r["loss"], r["grad_norm"])
        for r in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    ]
