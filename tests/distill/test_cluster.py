"""Starting Ray for a study."""

import pytest
import ray

from distill import cluster
from distill.cluster import ClusterError, ray_cluster


def test_a_cluster_that_does_not_come_up_is_named(monkeypatch):
    def fail(num_cpus: int, address: str | None) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(cluster, "_start", fail)
    # Another test of this process may have a cluster of its own.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ClusterError, match=r"could not reach Ray at 10\.0\.0\.1:6379: .*timed out"):
        with ray_cluster(1, address="10.0.0.1:6379"):
            pass
    with pytest.raises(ClusterError, match="could not start Ray here"):
        with ray_cluster(1):
            pass
