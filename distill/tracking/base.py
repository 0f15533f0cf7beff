"""The seam: what a tracker is told of a run. Nothing of the environment, of the machine or of any key is part of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from distill.tracking.config import TrackerConfig, TrackerName


class TrackerError(RuntimeError):
    """A tracker cannot be used or did not take what it was told; the run itself is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """Who is tracked."""

    name: str
    """The study's."""
    folder: Path
    project: str
    uri: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    """What a list of runs is searched by: hashes, arms, seeds."""
    id: str | None = None
    """What `start` returned the last time: the tracker goes on where it stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Metrics of one moment; `train/distill-s0/loss` at optimiser step 12."""

    step: int
    metrics: Mapping[str, float]


class Tracker(Protocol):
    def start(self, run: TrackedRun) -> str:
        """Open the run, or the one that has `run.id` again; returns the id by which it can be taken up."""

    def log(self, rows: Sequence[Row]) -> None: ...

    def log_file(self, path: Path) -> None: ...

    def finish(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    module: str
    package: str
    """What it imports."""
    install: str


_KINDS: Mapping[TrackerName, _Kind] = {
    "tensorboard": _Kind(
        module="tensorboard", package="tensorboardX", install="pip install 'offbook[tensorboard]'"
    ),
    "wandb": _Kind(module="wandb", package="wandb", install="pip install 'offbook[wandb]'"),
    # No extra: MLflow's newest wants an older cachetools than the locked environment has.
    "mlflow": _Kind(
        module="mlflow",
        package="mlflow",
        install="pip install mlflow-skinny, best into an environment of its own, and send the run from there with `offbook track`",
    ),
}


def make_tracker(name: TrackerName) -> Tracker:
    """Raises `TrackerError` where its package is missing."""
    require_package(name)
    return import_module(f"distill.tracking.to_{_KINDS[name].module}").make()


def require_package(name: TrackerName) -> None:
    kind = _KINDS[name]
    if find_spec(kind.package) is None:
        raise TrackerError(f"tracker {name!r} needs the Python package {kind.package!r}: {kind.install}")


def check_packages(config: TrackerConfig) -> None:
    """Before a study starts: that a package is missing must not show after hours."""
    for name in config.to:
        require_package(name)
