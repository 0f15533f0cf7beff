"""Ray's fake nodes, which are processes of this machine, but for types that cannot be had at the moment."""

import os
from pathlib import Path

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE


class ScarceProvider(FakeMultiNodeProvider):
    def create_node_with_resources_and_labels(self, node_config, tags, count, resources, labels):  # type: ignore[no-untyped-def]
        sold_out = Path(os.environ["SOLD_OUT_FILE"]).read_text().split()
        if tags[TAG_RAY_USER_NODE_TYPE] in sold_out:
            raise NodeLaunchException("capacity", f"no {tags[TAG_RAY_USER_NODE_TYPE]} can be had", None)
        return super().create_node_with_resources_and_labels(node_config, tags, count, resources, labels)
