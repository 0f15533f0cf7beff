"""Finished episodes of a rollout: one JSON line each while it runs, one sorted Parquet file when it is complete.

On a path of this machine the lines are appended to one file; at an address (`s3://...`) they come in parts, see `actors.parts`.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from actors.final_file import sorted_lines, whole_lines, write_final
from actors.parts import PartWriter, fetch, merge, part_lines, part_names
from actors.place import Folder, Place, is_address, place_of
from actors.totals import Totals, read_totals
from actors.trajectory import EndReason, Trajectory, from_row, to_row

EPISODES = "episodes.jsonl"
TRAJECTORIES = "trajectories.parquet"

_BLOCK = 2**16


class EpisodeSink(Protocol):
    def append(self, lines: Iterable[str]) -> None:
        """Durable when it returns."""
        ...

    def close(self) -> None: ...


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


def open_sink(folder: Folder) -> EpisodeSink:
    return PartWriter(place_of(str(folder))) if is_address(folder) else EpisodeFile(Path(folder))


def to_line(trajectory: Trajectory) -> str:
    return json.dumps(to_row(trajectory), ensure_ascii=False)


def written_rows(folder: Folder | Place) -> Iterator[dict[str, Any]]:
    """In about the order of writing, an id as often as it was written; one at a time in memory. A torn last line does not count."""
    for line in _lines(_found(folder)):
        yield json.loads(line)


def finished_ids(folder: Folder | Place) -> set[str]:
    """Ids that need not be played again; an episode that ended in an error is owed again."""
    return {row["id"] for row in written_rows(folder) if row["end"] != EndReason.ERROR}


def finalise(folder: Folder | Place) -> Totals:
    """Write `trajectories.parquet`: every id once, sorted, complete or absent. One row group of it is in memory at a time."""
    found = _found(folder)
    if isinstance(found, Place):
        return _finalise_parts(found)
    found.mkdir(parents=True, exist_ok=True)
    write_final(found / EPISODES, found / TRAJECTORIES)
    return read_totals(found / TRAJECTORIES)


def read_finished(folder: Path) -> list[Trajectory]:
    """What is on disk, the last record of each id, sorted; errors included. All of it in memory: for tests and small rollouts."""
    return [from_row(json.loads(line)) for line in sorted_lines(folder / EPISODES)]


def _found(folder: Folder | Place) -> Path | Place:
    if isinstance(folder, Place):
        return folder
    return place_of(str(folder)) if is_address(folder) else Path(folder)


def _lines(folder: Path | Place) -> Iterator[bytes]:
    if isinstance(folder, Place):
        yield from part_lines(folder, part_names(folder))
        return
    path = folder / EPISODES
    if path.exists():
        with path.open("rb") as file:
            yield from whole_lines(file)


def _finalise_parts(place: Place) -> Totals:
    """On this machine's disk, which needs room for the rollout: rows are read here and there, which an object store is slow at."""
    with tempfile.TemporaryDirectory(prefix="offbook-parts-") as scratch:
        journal, final = Path(scratch) / EPISODES, Path(scratch) / TRAJECTORIES
        names = part_names(place)
        fetch(place, names, journal)
        write_final(journal, final)
        place.make()
        # Sent when it is whole here: what breaks off half-way has no footer, and no reader takes it for the file.
        place.send(final, TRAJECTORIES)
        merge(place, names, journal)
        return read_totals(final)


def _cut_torn_line(file: BinaryIO) -> None:
    """From the end, for what lies before may be gigabytes."""
    size = end = file.seek(0, os.SEEK_END)
    kept = 0
    while end and not kept:
        start = max(0, end - _BLOCK)
        file.seek(start)
        last = file.read(end - start).rfind(b"\n")
        kept = start + last + 1 if last >= 0 else 0
        end = start
    if kept < size:
        file.truncate(kept)
    file.seek(0, os.SEEK_END)
