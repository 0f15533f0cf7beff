"""Starting Ray for a study."""

import pytest

from distill.cluster import ClusterError, ray_cluster


@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_named():
    with pytest.raises(ClusterError, match=r"could not reach Ray at 127\.0\.0\.1:1"):
        with ray_cluster(1, address="127.0.0.1:1"):
            pass
