"""What Ray says of its nodes, and how actors ask for a place on one."""

import asyncio
import logging
import time
import uuid
from typing import Any

import ray
from ray._private.state import state as _ray_state
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
_PREEMPTION = 2
"""Ray's `DRAIN_NODE_REASON_PREEMPTION`: also a node that is not idle."""


class NodeWatch:
    """Nodes that are about to go: `ray drain-node`, an autoscaler that scales down, a cloud's notice that it wants the machine back."""

    def __init__(self) -> None:
        self.draining: frozenset[str] = frozenset()

    async def run(self) -> None:
        while True:
            try:
                found = await asyncio.to_thread(draining_nodes)
            except (RayError, RuntimeError, OSError) as error:
                # Ray's head may be away for a while; what plays goes on without it.
                log.warning("Ray does not say which nodes drain: %r", error)
                found = self.draining
            for node in found - self.draining:
                log.warning("node %s is being drained: nothing new begins there", node[:12])
            self.draining = found
            await asyncio.sleep(_LOOK_EVERY_S)


def draining_nodes() -> frozenset[str]:
    """Ids. Ray tells of them in its own state alone; a node that is gone is no longer among them."""
    return frozenset(_ray_state.get_draining_nodes())


def drain_this_node(why: str, left_s: float) -> None:
    """Have Ray treat the node that this process runs on as one that is gone in `left_s` seconds. Connects to Ray, and leaves it again.

    Raises:
        RuntimeError: Ray refuses, or does not run here.
    """
    from ray._raylet import GcsClient

    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise RuntimeError(f"no Ray runs on this machine: {error}") from error
    try:
        deadline_ms = int((time.time() + left_s) * 1000)
        gcs = GcsClient(address=ray.get_runtime_context().gcs_address)
        accepted, reason = gcs.drain_node(this_node(), _PREEMPTION, why, deadline_ms)
        if not accepted:
            raise RuntimeError(f"Ray does not drain this node: {reason}")
    finally:
        ray.shutdown()


def this_node() -> str:
    """Id; empty where Ray does not run."""
    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""


def unique_name(role: str) -> str:
    """A Ray actor's name that no other rollout of this cluster has."""
    return f"offbook-{role}-{uuid.uuid4().hex[:12]}"


class Bundle:
    """A place on one node, held while its actor lives, dies and is started again. Without room it waits, and tells an autoscaler so."""

    def __init__(self, *, gpus: int, name: str) -> None:
        bundle = {"CPU": 1.0} | ({"GPU": float(gpus)} if gpus else {})
        # One bundle: the GPUs of a tensor-parallel engine lie in one node.
        self._group: Any = placement_group([bundle], strategy="STRICT_PACK", name=name)

    @property
    def strategy(self) -> PlacementGroupSchedulingStrategy:
        return PlacementGroupSchedulingStrategy(placement_group=self._group, placement_group_bundle_index=0)

    def free(self) -> None:
        remove_placement_group(self._group)


def shortage() -> str:
    """What the cluster has and what of it is free, for an error."""
    total, free = ray.cluster_resources(), ray.available_resources()
    parts = [
        f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU") if kind in total
    ]
    return f"{' and '.join(parts)} are free on {len([n for n in ray.nodes() if n['Alive']])} nodes"
