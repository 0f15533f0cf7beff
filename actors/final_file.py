"""The sorted file of a journal: every id once, row group after row group, so that no more than one of them is in memory.

A journal is a file of JSON lines in the order of writing. What is kept of each line meanwhile is its key and where it stands.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.trajectory import TRAJECTORY_SCHEMA, EndReason

_ROWS_PER_GROUP = 500
"""Small groups, so that whoever needs some of a million episodes reads no more than those."""
_BYTES_PER_GROUP = 16 * 2**20
"""Of JSON: a group of long episodes is cut before, for as Python objects it takes some ten times as much."""
_KEYS_PER_CHUNK = 10_000
_KEY_SCHEMA = pa.schema(
    [
        ("env", pa.string()),
        ("task", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("id", pa.string()),
        ("is_error", pa.bool_()),
        ("rank", pa.int64()),
        ("start", pa.int64()),
        ("length", pa.int64()),
    ]
)


def write_final(journal: Path, target: Path) -> None:
    """Complete or absent. The last record of an id counts, and an error only where there is nothing else."""
    partial = target.with_suffix(".partial")
    with pq.ParquetWriter(partial, TRAJECTORY_SCHEMA, compression="zstd") as writer:
        for rows in _groups(sorted_rows(journal)):
            writer.write_table(pa.Table.from_pylist(rows, schema=TRAJECTORY_SCHEMA))
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(target)


def sorted_rows(journal: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """(row, bytes of its line), by task, arm and seed; every id once."""
    if not journal.exists():
        return
    with journal.open("rb") as file:
        starts_N, lengths_N = _order(_keys(file))
        for start, length in zip(starts_N.tolist(), lengths_N.tolist(), strict=True):
            file.seek(start)
            yield json.loads(file.read(length)), length


def whole_lines(file: Iterable[bytes]) -> Iterator[bytes]:
    """Without a last line that a killed writer left half-written."""
    return (line for line in file if line.endswith(b"\n"))


def _keys(file: BinaryIO) -> pa.Table:
    """A few dozen bytes a line: the columns are Arrow's, for as Python objects a million keys are half a gigabyte."""
    chunks: list[pa.RecordBatch] = []
    keys: list[dict[str, Any]] = []
    start = 0
    for number, line in enumerate(whole_lines(file)):
        keys.append(_key(json.loads(line), number, start, len(line)))
        start += len(line)
        if len(keys) == _KEYS_PER_CHUNK:
            chunks.append(pa.RecordBatch.from_pylist(keys, schema=_KEY_SCHEMA))
            keys = []
    chunks.append(pa.RecordBatch.from_pylist(keys, schema=_KEY_SCHEMA))
    return pa.Table.from_batches(chunks)


def _key(row: Mapping[str, Any], number: int, start: int, length: int) -> dict[str, Any]:
    is_error = row["end"] == EndReason.ERROR
    return {
        "env": row["task"]["env"],
        "task": row["task"]["id"],
        "arm": row["arm"],
        "seed": row["seed"],
        "id": row["id"],
        "is_error": is_error,
        # The first of an id's lines in this order is the one that counts: its last episode, else its first error.
        "rank": number if is_error else -number,
        "start": start,
        "length": length,
    }


def _order(keys: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the lines that count stand and how long they are, in the order of the file."""
    names = ("env", "task", "arm", "seed", "id", "is_error", "rank")
    keys = keys.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in names]))
    # Equal ids stand together: what the order goes by before the id is part of it.
    codes_N = keys["id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    counts_N = np.ones(len(codes_N), dtype=np.bool_)
    counts_N[1:] = codes_N[1:] != codes_N[:-1]
    return keys["start"].to_numpy()[counts_N], keys["length"].to_numpy()[counts_N]


def _groups(rows: Iterable[tuple[dict[str, Any], int]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row, length in rows:
        group.append(row)
        size += length
        if len(group) == _ROWS_PER_GROUP or size >= _BYTES_PER_GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group
