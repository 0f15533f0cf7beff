"""Finished episodes of a rollout's folder, read so that a rollout of any size fits in memory: a batch of bodies at a time, or their keys."""

import json
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.store import TRAJECTORIES, to_line
from actors.trajectory import EndReason, Trajectory, from_row

_BATCH = 64
"""Episodes in memory at a time."""


def read_trajectories(folder: Path) -> Iterator[Trajectory]:
    """In the file's order."""
    for batch in _batches(folder):
        yield from map(from_row, batch.to_pylist())


def read_failures(folder: Path) -> Iterator[Trajectory]:
    """Episodes that the agent lost; those that the machinery lost are no failures and never become hints."""
    for batch in _batches(folder):
        yield from map(from_row, batch.filter(_lost(batch)).to_pylist())


def failed_tasks(folder: Path) -> dict[str, str]:
    """The task's key of every failure, by the episode's id."""
    found: dict[str, str] = {}
    for batch in _batches(folder, ["id", "success", "end", "task.env", "task.id"]):
        for row in batch.filter(_lost(batch)).to_pylist():
            found[row["id"]] = f"{row['task']['env']}/{row['task']['id']}"
    return found


class EpisodesOnDisk(Collection[Trajectory]):
    """Episodes in the order of their ids, each once, one in memory at a time; they lie in a file that is gone with this."""

    def __init__(self, trajectories: Iterable[Trajectory], folder: Path) -> None:
        """The file lies in `folder` and has no name there."""
        # Not where the system keeps temporary files, which may be its memory.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as this
        self._places: dict[str, tuple[int, int]] = {}  # id -> start and length
        start = 0
        for trajectory in trajectories:
            line = to_line(trajectory).encode()
            self._file.write(line)
            self._places[trajectory.id] = (start, len(line))
            start += len(line)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Trajectory]:
        for id_ in sorted(self._places):
            start, length = self._places[id_]
            self._file.seek(start)
            yield from_row(json.loads(self._file.read(length)))

    def __contains__(self, trajectory: object) -> bool:
        return isinstance(trajectory, Trajectory) and trajectory.id in self._places


def _batches(folder: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(folder / TRAJECTORIES) as file:
        yield from file.iter_batches(batch_size=_BATCH, columns=columns)


def _lost(batch: pa.RecordBatch) -> pa.Array:
    return pc.and_(pc.invert(batch["success"]), pc.not_equal(batch["end"], str(EndReason.ERROR)))
