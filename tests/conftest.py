"""What holds for every test: the process environment, the real data's place, and who is skipped where."""

import os
import shutil
from pathlib import Path

import pytest

# Set here and nowhere else, before anything imports torch or ray: a bare `pytest` must behave as `make test` does.
# More threads than cores collapse (two busy processes: 1 thread 2,800 tokens/s, 2 threads 150), a model hub is never
# asked, and nothing reports its use. A value that is already set wins.
for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    # A busy machine needs longer than Ray's usual limits to start.
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_raylet_start_wait_time_s": "180",
    "DS_ACCELERATOR": "cpu",
    "MPLBACKEND": "Agg",
}.items():
    os.environ.setdefault(_name, _value)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real games and recorded traces, which is too large for the repository."""
    named = os.environ.get("OFFBOOK_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        if named:
            pytest.fail(f"OFFBOOK_TEST_DATA={named} is no folder")
        pytest.skip(f"no test data in {folder}; set OFFBOOK_TEST_DATA to a folder that holds it")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shutil.which("nvidia-smi"):
        return
    no_gpu = pytest.mark.skip(reason="needs an NVIDIA GPU; this machine has no nvidia-smi")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(no_gpu)
