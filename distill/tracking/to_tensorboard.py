"""TensorBoard event files under `tensorboard/` in the run's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.tracking.base import Row, TrackedRun, Tracker

FOLDER = "tensorboard"


class TensorboardTracker:
    """Event files of one folder add up: a tracker that is taken up again writes a further one."""

    def __init__(self) -> None:
        self._writer: Any = None

    def start(self, run: TrackedRun) -> str:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(run.folder / FOLDER), write_to_disk=True)
        if run.id is None:
            lines = [f"{name}: {value}" for name, value in run.facts.items()]
            self._writer.add_text("run", "  \n".join([run.name, *lines]), 0)
        return FOLDER

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            for name, value in row.metrics.items():
                self._writer.add_scalar(name, value, row.step)
        self._writer.flush()

    def log_file(self, path: Path) -> None:
        """TensorBoard keeps no files; they lie in the run's folder beside its own."""

    def finish(self) -> None:
        self._writer.close()


def make() -> Tracker:
    return TensorboardTracker()
