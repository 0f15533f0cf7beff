"""A Ray cluster of the tests' own, and the random checkpoint."""

import os
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]  # tests are no package

from tiny_model import tiny_adapter, tiny_model  # noqa: E402, F401


@pytest.fixture(scope="package")
def ray_cluster():
    """One for this folder, gone when its tests have ended: the other folders start their own."""
    import ray

    # Paths of sockets must stay below 108 characters, which pytest's own folders do not leave.
    folder = f"/tmp/offbook-ray-{os.getpid()}"
    for attempt in range(3):
        try:
            ray.init(
                address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=folder
            )
            break
        except Exception:
            # Ray gives its own processes 30 s, which a busy machine may exceed.
            ray.shutdown()
            if attempt == 2:
                raise
    yield
    ray.shutdown()
