"""Finished episodes on disk: one JSON line each while a rollout runs, one sorted Parquet file when it is complete."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, Trajectory, from_row, to_row

_ROWS_PER_GROUP = 500
EPISODES = "episodes.jsonl"
TRAJECTORIES = "trajectories.parquet"


class EpisodeFile:
    """Appends lines durably. One writer at a time; a line that a killed writer left half-written is cut off at opening."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = (folder / EPISODES).open("ab+")
        _cut_torn_line(self._file)

    def append(self, lines: Iterable[str]) -> None:
        """On disk when it returns."""
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def to_line(trajectory: Trajectory) -> str:
    return json.dumps(to_row(trajectory), ensure_ascii=False)


def read_finished(folder: Path) -> list[Trajectory]:
    """What is on disk, the last record of each id, sorted; errors included. A torn last line does not count."""
    return [from_row(row) for row in _sorted_rows(folder)]


def finished_ids(folder: Path) -> set[str]:
    """Ids that need not be played again; an episode that ended in an error is owed again."""
    return {row["id"] for row in _rows(folder) if row["end"] != EndReason.ERROR}


def finalise(folder: Path) -> Path:
    """Write `trajectories.parquet`: every id once, sorted, complete or absent."""
    target = folder / TRAJECTORIES
    partial = target.with_suffix(".partial")
    table = pa.Table.from_pylist(_sorted_rows(folder), schema=TRAJECTORY_SCHEMA)
    # Small groups, so that whoever needs some of a million episodes reads no more than those.
    pq.write_table(table, partial, compression="zstd", row_group_size=_ROWS_PER_GROUP)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(target)
    return target


def _sorted_rows(folder: Path) -> list[dict]:
    by_id: dict[str, dict] = {}
    for row in _rows(folder):
        # A late error record never replaces the episode itself.
        if row["end"] != EndReason.ERROR or row["id"] not in by_id:
            by_id[row["id"]] = row
    return sorted(
        by_id.values(), key=lambda r: (r["task"]["env"], r["task"]["id"], r["arm"], r["seed"], r["id"])
    )


def _rows(folder: Path) -> Iterator[dict]:
    path = folder / EPISODES
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def _cut_torn_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(0)
    kept = file.read().rfind(b"\n") + 1
    if kept < size:
        file.truncate(kept)
    file.seek(0, os.SEEK_END)
