"""Episodes through Ray Data in the order of their keys, in memory that does not grow with their number.

The order is planned before anything is read: keys are small, episodes are not. So there is nothing to sort or to shuffle afterwards, every
task reads the few row groups that it needs, and rows come out in order whatever files they lie in. Knows nothing of what becomes of them.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROWS_PER_BLOCK = 1_000
"""Episodes of one task: small inputs are one task, since a task more costs more than it saves."""
_ROWS_PER_BATCH = 250
"""Episodes that a task holds as Python objects at once; each takes some ten times its size in Arrow."""
_ROWS_OUT = 1_000
"""Of a table that comes out, whatever the blocks were: files of the same rows are the same files."""

Place = tuple[int, int]
"""(index of the file, row in it)."""


def ordered_places(files: Sequence[Path]) -> list[Place]:
    """Where each episode lies, by task, seed and id; of records with one id the first that is no error."""
    keys = pa.concat_tables([_keys(file, number) for number, file in enumerate(files)])
    order = [(name, "ascending") for name in ("task", "seed", "id", "lost", "file", "row")]
    ordered = keys.sort_by(order)
    ids = ordered["id"].to_pylist()
    fresh = [i for i, name in enumerate(ids) if i == 0 or name != ids[i - 1]]
    kept = ordered.take(pa.array(fresh, pa.int64()))
    return list(zip(kept["file"].to_pylist(), kept["row"].to_pylist(), strict=True))


def stream(
    files: Sequence[Path],
    places: Sequence[Place],
    make_rows: Callable[[list[dict[str, Any]]], pa.Table],
    columns: Sequence[str],
) -> Iterator[pa.Table]:
    """What `make_rows` makes of the episodes at `places`, in their order. Needs a Ray that runs."""
    import ray

    sources = [str(file) for file in files]

    def work(block: pa.Table) -> pa.Table:
        made = []
        for start in range(0, len(block), _ROWS_PER_BATCH):
            part = block.slice(start, _ROWS_PER_BATCH)
            wanted = list(zip(part["file"].to_pylist(), part["row"].to_pylist(), strict=True))
            made.append(make_rows(read_rows(sources, wanted, columns)))
        return pa.concat_tables(made)

    with _quiet_and_in_order():
        planned = [
            pa.table(
                {
                    "file": pa.array([file for file, _ in block], pa.int32()),
                    "row": pa.array([row for _, row in block], pa.int64()),
                }
            )
            for start in range(0, len(places), ROWS_PER_BLOCK)
            for block in [places[start : start + ROWS_PER_BLOCK]]
        ]
        if planned:
            done = ray.data.from_arrow(planned).map_batches(work, batch_format="pyarrow", batch_size=None)
            yield from done.iter_batches(batch_size=_ROWS_OUT, batch_format="pyarrow")


def read_rows(
    files: Sequence[str | Path], places: Sequence[Place], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows at `places`, in that order; reads the row groups that hold them and no others."""
    rows_by_file: dict[int, list[int]] = defaultdict(list)
    for file, row in places:
        rows_by_file[file].append(row)
    found: dict[Place, dict[str, Any]] = {}
    for file, rows in rows_by_file.items():
        with pq.ParquetFile(files[file]) as source:
            found |= {(file, row): record for row, record in _records(source, sorted(rows), columns)}
    return [found[place] for place in places]


def _records(
    source: pq.ParquetFile, rows: Sequence[int], columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    sizes = [source.metadata.row_group(n).num_rows for n in range(source.metadata.num_row_groups)]
    ends = np.cumsum(sizes)
    groups = np.searchsorted(ends, rows, side="right")
    for group in np.unique(groups):
        own = [row for row, where in zip(rows, groups, strict=True) if where == group]
        first = int(ends[group]) - sizes[group]
        table = source.read_row_group(int(group), columns=list(columns))
        yield from zip(own, table.take([row - first for row in own]).to_pylist(), strict=True)


def _keys(file: Path, number: int) -> pa.Table:
    with pq.ParquetFile(file) as source:
        read = source.read(columns=["task.env", "task.id", "seed", "id", "end"]).flatten()
    return pa.table(
        {
            "task": pc.binary_join_element_wise(read["task.env"], read["task.id"], "/"),
            "seed": read["seed"],
            "id": read["id"],
            "lost": pc.equal(read["end"], "error"),
            "file": pa.array(np.full(len(read), number), pa.int32()),
            "row": pa.array(np.arange(len(read)), pa.int64()),
        }
    )


@contextmanager
def _quiet_and_in_order() -> Iterator[None]:
    from ray.data import DataContext

    context, chatter = DataContext.get_current(), logging.getLogger("ray.data")
    before = (context.enable_progress_bars, context.execution_options.preserve_order, chatter.level)
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    chatter.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars, context.execution_options.preserve_order = before[:2]
        chatter.setLevel(before[2])
