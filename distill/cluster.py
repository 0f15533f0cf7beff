"""Start-up and shut-down of the Ray cluster a study runs on."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class ClusterError(RuntimeError):
    """Ray could not be started or reached."""


@contextmanager
def ray_cluster(num_cpus: int, address: str | None = None) -> Iterator[None]:
    """Ray for the duration of the block: a private local one with `num_cpus` logical CPUs, or the cluster at `address`.

    Logical CPUs admit actors; they do not bind cores, so a small machine may offer more of them than it has cores.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Workers are niced by default, and an engine behind a busy driver then starves.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # A busy machine needs longer than the default half minute to bring a node up.
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")
    os.environ.setdefault("RAY_agent_register_timeout_ms", "180000")
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        _start(num_cpus, address)
    except Exception as error:
        where = f"reach Ray at {address}" if address else "start Ray here"
        raise ClusterError(
            f"could not {where}: {error}; on a busy machine try again, or look into its logs"
        ) from error
    log.info(
        "ray is up: %s", {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU", "memory")}
    )
    try:
        yield
    finally:
        ray.shutdown()


def _start(num_cpus: int, address: str | None) -> None:
    import ray

    if address:
        ray.init(address=address, log_to_driver=False)
        return
    ray.init(
        address="local",
        num_cpus=num_cpus,
        num_gpus=_num_gpus(),
        include_dashboard=False,
        log_to_driver=False,
    )


def _num_gpus() -> int | None:
    # None lets Ray count them; an explicit empty CUDA_VISIBLE_DEVICES means none.
    return 0 if os.environ.get("CUDA_VISIBLE_DEVICES") == "" else None
