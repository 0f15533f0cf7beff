"""The one process that writes a rollout's finished episodes, as a Ray actor."""

import time
from pathlib import Path
from typing import Any

import ray

from actors.metrics import WRITE_SECONDS, WRITTEN
from actors.ray_meters import open_actor_meters
from actors.store import EpisodeFile


class Writer:
    """An `append` that has returned is on disk."""

    def __init__(self, folder: str, run: str = "") -> None:
        self._file = EpisodeFile(Path(folder))
        self._meters = open_actor_meters("writer", run=run)

    async def append(self, lines: list[str]) -> None:
        began = time.monotonic()
        self._file.append(lines)
        self._meters.observe(WRITE_SECONDS, time.monotonic() - began)
        self._meters.count(WRITTEN, len(lines))

    async def close(self) -> None:
        self._file.close()
        self._meters.close()


def writer_actor(folder: Path, name: str, run: str = "") -> Any:
    # On the driver's node: the folder is the driver's.
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        node_id=ray.get_runtime_context().get_node_id(), soft=False
    )
    remote = ray.remote(Writer).options(name=name, num_cpus=0, max_restarts=100, scheduling_strategy=here)
    return remote.remote(str(folder), run)
