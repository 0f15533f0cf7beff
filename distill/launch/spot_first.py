"""Nodes on demand where spot capacity is refused: `Aws`, `Gcp` and `Azure`, providers for Ray's cluster launcher.

The autoscaler of Ray 2.60 answers a refused launch by asking for the same node type again, for ever: a second type on demand beside it is never
asked for. So here the provider itself asks once more, for the same type of node without what makes it spot. The next node is asked for as spot
again.

Ray's launcher and the autoscaler on the head load these as `provider.module`; `provider.on_demand_where_refused` names the node types.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NodeConfig = dict[str, Any]

WHERE_REFUSED = "on_demand_where_refused"
"""The provider's key that lists node types."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What a cloud calls spot, and how it says that there is none."""

    refusals: tuple[str, ...]
    """Parts of error messages, in lower case, that mean: no such capacity, or none for this account. Any other error buys nothing dearer."""
    counts: bool
    """Its provider says how many of the nodes asked for were made. One that does not is asked for one node at a time."""
    on_demand: Callable[[NodeConfig], NodeConfig]
    """The same machine without what makes it spot."""


def _without(config: NodeConfig, *keys: str) -> NodeConfig:
    return {key: value for key, value in config.items() if key not in keys}


def _aws(config: NodeConfig) -> NodeConfig:
    return _without(config, "InstanceMarketOptions")


def _gcp(config: NodeConfig) -> NodeConfig:
    spot = ("preemptible", "provisioningModel", "instanceTerminationAction")
    rules = [left for rule in config.get("scheduling", ()) if (left := _without(rule, *spot))]
    return _without(config, "scheduling") | ({"scheduling": rules} if rules else {})


def _azure(config: NodeConfig) -> NodeConfig:
    parameters = _without(config["azure_arm_parameters"], "priority", "billingProfile", "evictionPolicy")
    return config | {"azure_arm_parameters": parameters}


MARKETS = {
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    "aws": Market(
        refusals=(
            "insufficientinstancecapacity",
            "insufficientcapacity",
            "unfulfillablecapacity",
            "maxspotinstancecountexceeded",
            "spotmaxpricetoolow",
        ),
        counts=True,
        on_demand=_aws,
    ),
    # https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-resource-availability
    "gcp": Market(
        refusals=("resource_pool_exhausted", "insufficientcapacity", "quota_exceeded", "quotaexceeded"),
        counts=False,
        on_demand=_gcp,
    ),
    # https://learn.microsoft.com/azure/virtual-machines/error-codes-spot
    "azure": Market(
        refusals=("skunotavailable", "allocationfailed", "overconstrained", "lowprioritycores"),
        counts=False,
        on_demand=_azure,
    ),
}


def spot_first(provider: type, market: Market) -> type:
    """A provider that is `provider` but for node types in `on_demand_where_refused`, which it asks for as spot and, where that is refused, on demand."""

    class SpotFirst(provider):
        def create_node_with_resources_and_labels(
            self,
            node_config: NodeConfig,
            tags: dict[str, str],
            count: int,
            resources: dict[str, float],
            labels: dict[str, str],
        ) -> dict[str, Any] | None:
            from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE

            launch = super().create_node_with_resources_and_labels
            kind = tags.get(TAG_RAY_USER_NODE_TYPE)
            if kind not in self.provider_config.get(WHERE_REFUSED, ()):
                return launch(node_config, tags, count, resources, labels)
            made: dict[str, Any] = {}
            config, is_spot, missing = node_config, True, count
            while missing > 0:
                asked = missing if market.counts else 1
                try:
                    some = launch(config, tags, asked, resources, labels) or {}
                except Exception as error:
                    if not is_spot or not any(part in str(error).lower() for part in market.refusals):
                        raise
                    _log.warning("no spot node of type %s, so %d on demand instead: %s", kind, missing, error)
                    config, is_spot = market.on_demand(node_config), False
                    continue
                missing -= max(1, len(some)) if market.counts else 1
                made |= some
            return made

    return SpotFirst


def __getattr__(name: str) -> type:
    """`Aws`, `Gcp`, `Azure`: made when they are asked for, since each needs packages of its cloud that the others do not."""
    cloud = name.lower()
    if name != cloud.capitalize() or cloud not in MARKETS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept compatible by Ray for providers that stand before its own.
    from ray.autoscaler._private.providers import _get_node_provider_cls

    made = spot_first(_get_node_provider_cls({"type": cloud}), MARKETS[cloud])
    globals()[name] = made
    return made
