"""Rows to train on, made up."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from train.schema import TOKENS_SCHEMA


def make_row(number: int, length: int, *, seed: int = 0, vocab: int = 500) -> dict:
    """A row whose every third stretch of four tokens is under loss."""
    ids = np.random.default_rng([seed, number]).integers(3, vocab, length)
    labels = np.where((np.arange(length) // 4) % 3 == 2, ids, -100)
    return {
        "input_ids": ids.tolist(),
        "labels": labels.tolist(),
        "task_id": f"task-{number}",
        "trajectory_id": f"{number:05d}",
        "arm": "distill",
        "num_tokens": length,
        "num_loss_tokens": int((labels != -100).sum()),
    }


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=TOKENS_SCHEMA), path)
    return path
