"""MLflow, through its client alone: `mlflow.start_run` would also record the command, the user and the repository."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill.tracking.base import Row, TrackedRun, Tracker

_PER_CALL = 1000
"""Metrics that MLflow takes in one call."""


class MlflowTracker:
    def __init__(self) -> None:
        self._client: Any = None
        self._run_id = ""

    def start(self, run: TrackedRun) -> str:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=run.uri)
        if run.id is not None:
            self._run_id = run.id
            self._client.update_run(run.id, status="RUNNING")
            return run.id
        known = self._client.get_experiment_by_name(run.project)
        experiment = known.experiment_id if known else self._client.create_experiment(run.project)
        self._run_id = self._client.create_run(experiment, run_name=run.name).info.run_id
        params = [Param(name, value) for name, value in run.facts.items()]
        self._client.log_batch(self._run_id, params=params)
        return self._run_id

    def log(self, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, row.step) for row in rows for name, value in row.metrics.items()]
        for part in _parts(metrics):
            self._client.log_batch(self._run_id, metrics=part)

    def log_file(self, path: Path) -> None:
        self._client.log_artifact(self._run_id, str(path))

    def finish(self) -> None:
        self._client.set_terminated(self._run_id)


def make() -> Tracker:
    return MlflowTracker()


def _parts(metrics: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(metrics), _PER_CALL):
        yield metrics[start : start + _PER_CALL]
