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


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """`train_jobs` in this process, a group of one. One for all tests: DeepSpeed keeps the first group that it sees."""
    import torch.distributed as dist

    from train.loop import train_jobs

    store = tmp_path_factory.mktemp("store") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)

    def run(settings, report=lambda metrics: None):
        # For the call alone: processes that other tests start must not take themselves for workers.
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
                patch.setenv(name, value)
            train_jobs(settings, report)

    yield run
    dist.destroy_process_group()
