"""Weights & Biases. Whether it is offline, and with which key, is the library's own affair (`WANDB_MODE`, `WANDB_API_KEY`)."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.tracking.base import Row, TrackedRun, Tracker

# By itself the library sends the command line, what was printed, the repository's state, the machine and its packages.
_SENDS_NOTHING_BY_ITSELF = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class WandbTracker:
    def __init__(self) -> None:
        self._run: Any = None
        self._folder = Path()
        self._groups: set[str] = set()

    def start(self, run: TrackedRun) -> str:
        import wandb

        self._folder = run.folder
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=run.id or uuid.uuid4().hex,
            resume="allow",
            dir=str(run.folder),
            config=dict(run.facts),
            settings=wandb.Settings(**_SENDS_NOTHING_BY_ITSELF),
        )
        return self._run.id

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            groups = {name.rpartition("/")[0] for name in row.metrics}
            for group in sorted(groups - self._groups):
                # The library's own step may never fall, and every training starts at 0: each group has a step of its own.
                self._run.define_metric(f"{group}/*", step_metric=f"{group}/step")
            self._groups |= groups
            self._run.log(dict(row.metrics) | {f"{group}/step": row.step for group in groups})

    def log_file(self, path: Path) -> None:
        self._run.save(str(path), base_path=str(self._folder), policy="now")

    def finish(self) -> None:
        self._run.finish()


def make() -> Tracker:
    return WandbTracker()
