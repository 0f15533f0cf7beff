"""A random checkpoint, its tokenizer, and rows to train on."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package
sys.path.insert(0, str(Path(__file__).parent))

from tiny_model import tiny_adapter, tiny_model  # noqa: F401

from train.config import TrainConfig
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


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven rows of 12 to 52 tokens: no multiple of any batch size in use."""
    made = [make_row(n, 12 + 4 * n) for n in range(11)]
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.parquet", made)


@pytest.fixture(scope="session")
def config() -> TrainConfig:
    return TrainConfig(
        rank=4,
        alpha=8,
        lr=5e-3,
        epochs=2,
        batch_rows=4,
        micro_batch_rows=2,
        max_length=64,
        dtype="float32",
        num_workers=1,
        checkpoint_every=2,
    )
