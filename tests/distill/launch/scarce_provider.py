"""Ray's fake nodes, which are processes of this machine, of a cloud that may have no spot capacity at the moment, under Offbook's fallback."""

import os
from pathlib import Path

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE

from distill.launch.spot_first import MARKETS, spot_first


class Scarce(FakeMultiNodeProvider):
    def create_node_with_resources_and_labels(self, node_config, tags, count, resources, labels):  # type: ignore[no-untyped-def]
        market = "spot" if "InstanceMarketOptions" in node_config else "on demand"
        kind = tags[TAG_RAY_USER_NODE_TYPE]
        if market == "spot" and kind in Path(os.environ["SOLD_OUT_FILE"]).read_text().split():
            raise NodeLaunchException("InsufficientInstanceCapacity", f"no {kind} can be had", None)
        with Path(os.environ["LAUNCHES_FILE"]).open("a") as launches:
            launches.write(f"{count} {kind} {market}\n")
        super().create_node_with_resources_and_labels(node_config, tags, count, resources, labels)
        # As Amazon's provider does: so many as were made.
        return dict.fromkeys(range(count))


ScarceProvider = spot_first(Scarce, MARKETS["aws"])
