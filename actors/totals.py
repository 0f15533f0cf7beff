"""What a finished rollout came to, from the columns that count it: no episode's text is read."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.trajectory import EndReason

_TURN = "turns.list.element."
_COLUMNS = [
    "success",
    "end",
    *(_TURN + name for name in ("action", "prompt_tokens", "cached_tokens", "completion_tokens")),
]
_BATCH = 4096


@dataclass(slots=True, kw_only=True)
class Totals:
    episodes: int = 0
    successes: int = 0
    errors: int = 0
    turns: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


def read_totals(trajectories: Any) -> Totals:
    """Of a `trajectories.parquet`: its path, or the open file."""
    totals = Totals()
    with pq.ParquetFile(trajectories) as file:
        for batch in file.iter_batches(batch_size=_BATCH, columns=_COLUMNS, use_threads=False):
            _add(totals, batch)
    return totals


def _add(totals: Totals, batch: pa.RecordBatch) -> None:
    turns = batch["turns"].flatten()
    totals.episodes += len(batch)
    totals.successes += _sum(batch["success"])
    totals.errors += _sum(pc.equal(batch["end"], str(EndReason.ERROR)))
    totals.turns += len(turns)
    totals.steps += len(turns) - turns.field("action").null_count
    totals.prompt_tokens += _sum(turns.field("prompt_tokens"))
    totals.cached_tokens += _sum(turns.field("cached_tokens"))
    totals.completion_tokens += _sum(turns.field("completion_tokens"))


def _sum(values: pa.Array) -> int:
    return pc.sum(values, min_count=0).as_py()
