"""A random checkpoint, its tokenizer, and rows to train on."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package
sys.path.insert(0, str(Path(__file__).parent))

from tiny_model import tiny_adapter, tiny_model  # noqa: F401
from training_rows import make_row, write_rows

from train.config import TrainConfig


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
