"""Running many episodes: on a Ray cluster (`rollout`), or in this process without engines (`rollout_local`).

Both count what a folder still owes, play it, and leave `trajectories.parquet`; starting again after a crash goes on.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray

from actors.cluster import NodeWatch, shortage, unique_name
from actors.crew import Crew
from actors.driver import Host, Progress, RolloutError
from actors.episode import EpisodeSpec
from actors.fleet import Fleet
from actors.host_pool import HostPool
from actors.job import Job, RolloutSettings, RolloutSummary
from actors.owed import Owed
from actors.place import Folder
from actors.player import Ended, EpisodePlayer, Lost, Models, open_model
from actors.ray_host import RayHost
from actors.ray_meters import open_meters
from actors.seats import Seats
from actors.store import open_sink
from actors.trajectory import Trajectory

log = logging.getLogger(__name__)

_SAY_AFTER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One rollout of several that share a fleet."""

    specs: Sequence[EpisodeSpec]
    settings: RolloutSettings
    out_dir: Folder


def rollout(
    specs: Sequence[EpisodeSpec],
    settings: RolloutSettings,
    out_dir: Folder,
    *,
    fleet: Fleet | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RolloutSummary:
    """Play what `out_dir` owes of `specs` on env hosts; Ray must be running.

    `out_dir` is a path of the driver's machine, or an address (`s3://`, `gs://`, ...) where episodes come in parts.
    Raises `RolloutError` when it cannot go on and `ModelError` for a model or adapter that does not fit; episodes that
    ended before stay in `out_dir`.
    """
    asked = [Asked(specs=specs, settings=settings, out_dir=out_dir)]
    if fleet is not None:
        return rollout_all(asked, fleet, progress=progress)[0]
    with Fleet(settings.model) as own:
        return rollout_all(asked, own, progress=progress)[0]


def rollout_all(
    asked: Sequence[Asked],
    fleet: Fleet,
    *,
    at_once: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> list[RolloutSummary]:
    """`rollout` for several folders, up to `at_once` of them at a time. Those that need different adapters take turns where the engines
    swap weights. The first that cannot go on stops the others; what had ended is on disk.
    """
    jobs = [Job(one.specs, one.settings, one.out_dir) for one in asked]
    for job in jobs:
        fleet.check_adapters(job.owed)
    owing = [job for job in jobs if job.owed]
    if owing:
        asyncio.run(_play_jobs(owing, fleet, at_once, progress))
    return [job.finish() for job in jobs]


def rollout_local(
    specs: Sequence[EpisodeSpec],
    settings: RolloutSettings,
    out_dir: Folder,
    *,
    models: Models | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RolloutSummary:
    """The same without Ray, in this process; `models` replaces the configured model."""
    job = Job(specs, settings, out_dir)
    if job.owed:
        asyncio.run(_play_here(job, models or open_model(settings.model), progress))
    return job.finish()


@dataclass(slots=True)
class _LocalHost:
    player: EpisodePlayer
    name: str = "this process"

    async def play(self, spec: EpisodeSpec, lost: int) -> Ended | Lost:
        return await self.player.play(spec, lost)

    async def record(self, trajectory: Trajectory) -> None:
        await self.player.record(trajectory)


async def _play_jobs(
    jobs: Sequence[Job], fleet: Fleet, at_once: int, progress: Callable[[Progress], None] | None
) -> None:
    fleet.engines  # noqa: B018 - starts them
    cluster = _Cluster(fleet=fleet, engines=fleet.open_seats(), nodes=NodeWatch())
    patience_s = 2 * max(job.budget.turn_timeout_s for job in jobs)
    playing = asyncio.Semaphore(at_once)

    async def play(job: Job) -> None:
        async with playing:
            with closing(open_meters(run=job.play.run, rollout=job.name)) as meters:
                async with job.sight.shown(meters):
                    await _play_on_hosts(job, cluster, progress)

    async def play_all() -> None:
        for together in _by_weights(jobs, apart=fleet.swaps_weights):
            await _all(play(job) for job in together)

    await _beside([cluster.nodes.run(), fleet.mind(cluster.nodes, patience_s)], play_all())


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """The first that fails stops the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _by_weights(jobs: Sequence[Job], *, apart: bool) -> list[list[Job]]:
    """Jobs that may play side by side: where weights are swapped, only those of the same adapters."""
    if not apart:
        return [list(jobs)]
    found: dict[frozenset[str | None], list[Job]] = {}
    for job in jobs:
        found.setdefault(frozenset(spec.adapter for spec in job.owed), []).append(job)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cluster:
    """What the rollouts of one call share."""

    fleet: Fleet
    engines: Seats | None
    nodes: NodeWatch


async def _play_on_hosts(job: Job, cluster: _Cluster, progress: Callable[[Progress], None] | None) -> None:
    from actors.env_host import host_actor
    from actors.writer import writer_actor

    fleet, writer_name = cluster.fleet, unique_name("writer")
    writer = writer_actor(job.out_dir, writer_name, job.play.run)
    pool = HostPool(
        job.in_flight,
        cluster.engines,
        recycle_after=job.config.recycle_after,
        first_guess=fleet.guess_tokens(),
    )

    def recruit(number: int) -> RayHost:
        start = partial(host_actor, replace(job.play, host=f"host {number}"), fleet.membership, writer_name)
        patience_s = 2 * job.budget.turn_timeout_s
        return RayHost(number, start, pool, lambda: fleet.membership, cluster.nodes, patience_s)

    crew = Crew(job.config.num_hosts, recruit)

    async def play() -> None:
        await _wait_for_hosts(pool, job)
        for specs in _phases(job.owed, apart=fleet.swaps_weights):
            # The pool finds each episode its host: to the driver it is one, with the places of all.
            await _drive(job, specs, [pool], job.config.num_hosts * job.in_flight, progress)
        fleet.learn_tokens(pool.growth.tokens)
        await writer.close.remote()

    try:
        await _beside([crew.run()], play())
    finally:
        crew.close()
        ray.kill(writer)


async def _beside(minders: Sequence[Coroutine[Any, Any, None]], work: Coroutine[Any, Any, None]) -> None:
    """Until the work is done; what ends a minder ends the work."""
    tasks = [asyncio.create_task(each) for each in (work, *minders)]
    pending = set(tasks)
    try:
        while not tasks[0].done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_for_hosts(pool: HostPool, job: Job) -> None:
    least, patience_s = job.config.min_hosts, job.config.join_timeout_s
    try:
        async with asyncio.timeout(min(_SAY_AFTER_S, patience_s)):
            return await pool.wait_for(least)
    except TimeoutError:
        free = await asyncio.to_thread(shortage)
        log.warning("waiting for %d env hosts of one CPU each, %d are there: %s", least, pool.open, free)
    try:
        async with asyncio.timeout(max(0.0, patience_s - _SAY_AFTER_S)):
            await pool.wait_for(least)
    except TimeoutError:
        raise RolloutError(
            f"rollout.min_hosts = {least} env hosts need a CPU each and {pool.open} found one within {patience_s:g} s: "
            f"{await asyncio.to_thread(shortage)}; start Ray with more CPUs (they admit actors and bind no cores), or lower "
            "replicas, min_hosts or at_once"
        ) from None


async def _play_here(job: Job, models: Models, progress: Callable[[Progress], None] | None) -> None:
    sink = open_sink(job.out_dir)

    async def write(lines: list[str]) -> None:
        await asyncio.to_thread(sink.append, lines)

    player = EpisodePlayer(job.play, models, write)
    try:
        async with job.sight.shown():
            await _drive(job, job.owed, [_LocalHost(player)], job.in_flight, progress)
    finally:
        player.close()
        sink.close()


async def _drive(
    job: Job,
    specs: Owed,
    hosts: Sequence[Host],
    in_flight: int,
    progress: Callable[[Progress], None] | None,
) -> None:
    driver = job.driver(specs, progress)
    try:
        await driver.run(hosts, in_flight)
    finally:
        job.retries += driver.state.retries


def _phases(owed: Owed, *, apart: bool) -> list[Owed]:
    """One phase per adapter where weights are swapped, so that no episode waits for the other adapter's turn."""
    return list(owed.by(lambda spec: spec.adapter).values()) if apart else [owed]
