"""The sorted file of a journal: every id once, row group after row group, so that no more than one of them is in memory.

A journal is a file of JSON lines in the order of writing. What is kept of each line meanwhile is its key and where it stands. Arrow reads
the lines: as Python objects an episode takes ten times its text.
"""

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.trajectory import TRAJECTORY_SCHEMA, EndReason

_ROWS_PER_GROUP = 500
"""Small groups, so that whoever needs some of a million episodes reads no more than those."""
_BYTES_PER_GROUP = 16 * 2**20
"""Of JSON: a group of long episodes is cut before."""
_BYTES_AT_ONCE = 4 * 2**20
"""Of the journal, while keys are read."""
_KEY_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.struct([("env", pa.string()), ("id", pa.string())])),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("end", pa.string()),
    ]
)


def write_final(journal: Path, target: Path) -> None:
    """Complete or absent. The last record of an id counts, and an error only where there is nothing else."""
    partial = target.with_suffix(".partial")
    with pq.ParquetWriter(partial, TRAJECTORY_SCHEMA, compression="zstd") as writer:
        for lines in _portions(sorted_lines(journal), _BYTES_PER_GROUP, _ROWS_PER_GROUP):
            group = _read(lines, TRAJECTORY_SCHEMA)
            writer.write_table(group, row_group_size=len(lines))
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(target)


def sorted_lines(journal: Path) -> Iterator[bytes]:
    """Those that count, by task, arm and seed; every id once."""
    if not journal.exists():
        return
    with journal.open("rb") as file:
        starts_N, lengths_N = _order(file)
        for start, length in zip(starts_N, lengths_N, strict=True):
            file.seek(start)
            yield file.read(length)


def whole_lines(file: Iterable[bytes]) -> Iterator[bytes]:
    """Without a last line that a killed writer left half-written."""
    return (line for line in file if line.endswith(b"\n"))


def _order(file: BinaryIO) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the lines that count stand and how long they are, in the order of the sorted file."""
    keys, lengths_N = _keys(file)
    is_error_N = pc.equal(keys["end"], str(EndReason.ERROR)).to_numpy()
    number_N = np.arange(len(lengths_N))
    # The first of an id's lines in this order is the one that counts: its last episode, else its first error.
    rank = pa.array(np.where(is_error_N, number_N + len(number_N), -number_N))
    names = ("task.env", "task.id", "arm", "seed", "id", "rank")
    order = pc.sort_indices(
        keys.append_column("rank", rank), sort_keys=[(name, "ascending") for name in names]
    )
    order_N = order.to_numpy()
    # Equal ids stand together: what the order goes by before the id is part of it.
    ids = keys["id"].take(order).combine_chunks()
    counts_N = np.ones(len(order_N), dtype=np.bool_)
    counts_N[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    starts_N = np.cumsum(lengths_N) - lengths_N
    return starts_N[order_N][counts_N], lengths_N[order_N][counts_N]


def _keys(file: BinaryIO) -> tuple[pa.Table, NDArray[np.int64]]:
    """A line's key, and how long the line is: a hundred bytes for each."""
    chunks: list[pa.Table] = []
    lengths: list[NDArray[np.int64]] = []
    for lines in _portions(whole_lines(file), _BYTES_AT_ONCE):
        chunks.append(_read(lines, _KEY_SCHEMA))
        lengths.append(np.fromiter(map(len, lines), np.int64, len(lines)))
    keys = pa.concat_tables([_KEY_SCHEMA.empty_table(), *chunks]).flatten()
    return keys, np.concatenate([np.zeros(0, np.int64), *lengths])


def _read(lines: list[bytes], schema: pa.Schema) -> pa.Table:
    text = b"".join(lines)
    table = pa.json.read_json(
        io.BytesIO(text),
        # One block: a line may be longer than any size that is chosen beforehand.
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    return table.select(schema.names).cast(schema)


def _portions(
    lines: Iterable[bytes], most_bytes: int, most_lines: int | None = None
) -> Iterator[list[bytes]]:
    portion: list[bytes] = []
    size = 0
    for line in lines:
        portion.append(line)
        size += len(line)
        if len(portion) == most_lines or size >= most_bytes:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
