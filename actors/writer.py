"""The one process that writes a rollout's finished episodes, as a Ray actor."""

import asyncio
import time
from typing import Any

import ray

from actors.cluster import this_node
from actors.metrics import WRITE_SECONDS, WRITTEN
from actors.place import Folder, is_address
from actors.ray_meters import open_actor_meters
from actors.store import EpisodeSink, open_sink


class Writer:
    """An `append` that has returned is durable. Each host has one under way at a time, so no more batches wait here than there are hosts."""

    def __init__(self, folder: Folder, run: str = "") -> None:
        self._sink: EpisodeSink = open_sink(folder)
        self._meters = open_actor_meters("writer", run=run)
        self._turn = asyncio.Lock()
        self._gathered: list[str] = []
        self._batch: asyncio.Future[None] | None = None

    async def append(self, lines: list[str]) -> None:
        """What comes while something is being written is written together next: an upload costs the same for many as for one."""
        self._gathered += lines
        if self._batch is None:
            self._batch = asyncio.ensure_future(self._write_next())
        # Shielded: a host that dies waiting must not take others' lines along.
        await asyncio.shield(self._batch)

    async def close(self) -> None:
        async with self._turn:
            self._sink.close()
        self._meters.close()

    async def _write_next(self) -> None:
        async with self._turn:
            lines, self._gathered, self._batch = self._gathered, [], None
            began = time.monotonic()
            await asyncio.to_thread(self._sink.append, lines)
            self._meters.observe(WRITE_SECONDS, time.monotonic() - began)
            self._meters.count(WRITTEN, len(lines))


def writer_actor(folder: Folder, name: str, run: str = "") -> Any:
    """On the driver's node for a path, which is the driver's; anywhere for an address, so that it comes back elsewhere when its node is lost."""
    strategy: Any = "DEFAULT"
    if not is_address(folder):
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            node_id=this_node(), soft=False
        )
    remote = ray.remote(Writer).options(name=name, num_cpus=0, max_restarts=100, scheduling_strategy=strategy)
    return remote.remote(folder if is_address(folder) else str(folder), run)
