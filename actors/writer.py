"""The one process that writes a rollout's finished episodes, as a Ray actor."""

from pathlib import Path
from typing import Any

import ray

from actors.store import EpisodeFile


class Writer:
    """An `append` that has returned is on disk."""

    def __init__(self, folder: str) -> None:
        self._file = EpisodeFile(Path(folder))

    async def append(self, lines: list[str]) -> None:
        self._file.append(lines)

    async def close(self) -> None:
        self._file.close()


def writer_actor(folder: Path, name: str) -> Any:
    # On the driver's node: the folder is the driver's.
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        node_id=ray.get_runtime_context().get_node_id(), soft=False
    )
    remote = ray.remote(Writer).options(name=name, num_cpus=0, max_restarts=100, scheduling_strategy=here)
    return remote.remote(str(folder))
