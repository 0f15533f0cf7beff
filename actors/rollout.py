"""Running many episodes: on a Ray cluster (`rollout`), or in this process without engines (`rollout_local`).

Both count what a folder still owes, play it, and leave `trajectories.parquet`; starting again after a crash goes on.
"""

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.config import (
    EngineConfig,
    ModelConfig,
    RolloutConfig,
    ScriptedModelConfig,
)
from actors.driver import Host, Progress, RolloutError
from actors.episode import EpisodeSpec
from actors.job import Job, RolloutSettings, RolloutSummary
from actors.models import ModelError, check_adapter, resolve_model
from actors.player import Ended, EpisodePlayer, Lost, Models, open_model
from actors.ray_meters import open_meters
from actors.store import EpisodeFile
from actors.trajectory import Trajectory

log = logging.getLogger(__name__)

_HOST_PATIENCE_S = 300.0


class Fleet:
    """A study's engines, kept from one rollout to the next; for models that run elsewhere it holds nothing."""

    def __init__(
        self,
        model: ModelConfig,
        rollout: RolloutConfig | None = None,
        *,
        start_timeout_s: float = 600,
        engine_kind: Any = None,
    ) -> None:
        """`engine_kind`: a subclass of `Engine` to start instead, such as one that measures."""
        self.model = model
        self._engine_kind = engine_kind
        self._engines: dict[str, Any] = {}
        self.actor_names: dict[str, str] = {}
        """Of the engines that run, by which any process of this Ray job finds them."""
        self._start_timeout_s = start_timeout_s
        self.infos: dict[str, Any] = {}
        if isinstance(model, EngineConfig):
            self._folder = resolve_model(model.model)

    @property
    def engines(self) -> dict[str, Any]:
        """Handles by name; the engines start at the first call."""
        if isinstance(self.model, EngineConfig) and not self._engines:
            self._start(self.model)
        return self._engines

    def check_adapters(self, specs: Sequence[EpisodeSpec]) -> None:
        """Raise `ModelError` for an adapter that no engine of this fleet can serve, before anything is played."""
        for adapter in sorted({spec.adapter for spec in specs if spec.adapter}):
            if isinstance(self.model, EngineConfig):
                rank = self.model.max_lora_rank
                check_adapter(adapter, model=self.model.model, model_folder=self._folder, max_rank=rank)
            elif not isinstance(self.model, ScriptedModelConfig):
                raise ModelError(
                    f"adapter {adapter} cannot be loaded into {self.model.model!r} behind an endpoint; "
                    "serve it there under a name of its own and give that name as the model"
                )

    @property
    def swaps_weights(self) -> bool:
        """Whether an engine serves one adapter at a time."""
        return any(info.adapters == "merge" for info in self.infos.values())

    def metrics(self) -> dict[str, Any]:
        return {name: ray.get(engine.metrics.remote()) for name, engine in self._engines.items()}

    def close(self) -> None:
        for engine in self._engines.values():
            with suppress(RayActorError):
                ray.kill(engine)
        self._engines, self.actor_names, self.infos = {}, {}, {}

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, config: EngineConfig) -> None:
        from actors.engine import Engine, engine_actor

        kind = self._engine_kind or Engine
        _require_cpus(config.replicas, "engines")
        began = time.monotonic()
        cores = os.cpu_count() or 1
        self.actor_names = {f"engine {n}": _unique(f"engine-{n}") for n in range(config.replicas)}
        self._engines = {
            name: engine_actor(config, cores, actor, kind) for name, actor in self.actor_names.items()
        }
        try:
            infos = ray.get([e.info.remote() for e in self._engines.values()], timeout=self._start_timeout_s)
        except (RayActorError, RayTaskError, GetTimeoutError) as error:
            self.close()
            reason = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            raise RolloutError(f"the engine for {config.model!r} did not start: {reason}") from error
        self.infos = dict(zip(self._engines, infos, strict=True))
        log.info("%d engines of %s ready in %.0f s", config.replicas, config.model, time.monotonic() - began)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One rollout of several that share a fleet."""

    specs: Sequence[EpisodeSpec]
    settings: RolloutSettings
    out_dir: Path


def rollout(
    specs: Sequence[EpisodeSpec],
    settings: RolloutSettings,
    out_dir: Path,
    *,
    fleet: Fleet | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RolloutSummary:
    """Play what `out_dir` owes of `specs` on env hosts; Ray must be running.

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
    out_dir: Path,
    *,
    models: Models | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RolloutSummary:
    """The same without Ray, in this process; `models` replaces the configured model."""
    job = Job(specs, settings, out_dir)
    if job.owed:
        asyncio.run(_play_here(job, models or open_model(settings.model), progress))
    return job.finish()


class _RayHost:
    """A host process: replaced after enough episodes, and waited for when it was killed."""

    def __init__(self, name: str, start: Callable[[], Any], recycle_after: int) -> None:
        self.name = name
        self._start, self._recycle_after = start, recycle_after
        self._actor, self._played, self._playing = start(), 0, 0
        self._is_down = False
        self._changed = asyncio.Condition()

    async def play(self, spec: EpisodeSpec, lost: int) -> Ended | Lost:
        await self._check_in()
        try:
            return await self._actor.play.remote(spec, lost)
        except RayActorError as error:
            self._is_down = True
            return Lost(reason=f"{self.name} died: {type(error).__name__}", retryable=True)
        finally:
            async with self._changed:
                self._playing -= 1
                self._changed.notify_all()

    async def wait_started(self) -> None:
        try:
            await asyncio.wait_for(self._actor.pid.remote(), _HOST_PATIENCE_S)
        except TimeoutError:
            raise RolloutError(
                f"{self.name} has not started within {_HOST_PATIENCE_S:g} s: no node had a free CPU for it; "
                "lower rollout.num_hosts or rollout.at_once, or add CPUs to the cluster"
            ) from None
        except RayActorError:
            self._is_down = True  # It is started again, and waited for where it is needed.

    async def record(self, trajectory: Trajectory) -> None:
        while True:
            await self._await_return()
            try:
                return await self._actor.record.remote(trajectory)
            except RayActorError:
                self._is_down = True

    def kill(self) -> None:
        ray.kill(self._actor)

    async def _check_in(self) -> None:
        await self._await_return()
        async with self._changed:
            if self._played >= self._recycle_after:
                await self._changed.wait_for(lambda: self._playing == 0 or self._played < self._recycle_after)
            if self._played >= self._recycle_after:
                self.kill()
                self._actor, self._played = self._start(), 0
            self._played += 1
            self._playing += 1

    async def _await_return(self) -> None:
        """Ray starts a killed actor again; giving it episodes before would lose them at once, try after try."""
        until = time.monotonic() + _HOST_PATIENCE_S
        while self._is_down:
            try:
                await self._actor.pid.remote()
            except RayActorError as error:
                if time.monotonic() > until:
                    raise RolloutError(
                        f"{self.name} does not come back ({type(error).__name__}); see Ray's logs for what kills it"
                    ) from error
                await asyncio.sleep(0.2)
            else:
                self._is_down = False


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
    engines = fleet.engines
    health = asyncio.create_task(_mind_engines(engines, 2 * max(job.budget.turn_timeout_s for job in jobs)))
    # One after the other: two that ask at once would both be promised the same free CPUs.
    starting, playing = asyncio.Lock(), asyncio.Semaphore(at_once)

    async def play(job: Job) -> None:
        async with playing:
            with closing(open_meters(run=job.play.run, rollout=job.name)) as meters:
                async with job.sight.shown(meters):
                    await _play_on_hosts(job, fleet, starting, progress)

    tasks: list[asyncio.Task[None]] = []
    try:
        for together in _by_weights(jobs, apart=fleet.swaps_weights):
            tasks = [asyncio.create_task(play(job)) for job in together]
            await asyncio.gather(*tasks)
    finally:
        for task in (health, *tasks):
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


async def _play_on_hosts(
    job: Job, fleet: Fleet, starting: asyncio.Lock, progress: Callable[[Progress], None] | None
) -> None:
    from actors.env_host import host_actor
    from actors.writer import writer_actor

    writer_name, writer = _unique("writer"), None
    hosts: list[_RayHost] = []
    try:
        async with starting:
            await asyncio.to_thread(_require_cpus, job.config.num_hosts, "env hosts")
            writer = writer_actor(job.out_dir, writer_name, job.play.run)
            for n in range(job.config.num_hosts):
                play = replace(job.play, host=f"host {n}")
                start = partial(host_actor, play, fleet.actor_names, writer_name)
                hosts.append(_RayHost(f"host {n}", start, job.config.recycle_after))
            # Only when they run are their CPUs no longer promised to others.
            await asyncio.gather(*(host.wait_started() for host in hosts))
        for specs in _phases(job.owed, apart=fleet.swaps_weights):
            await _drive(job, specs, hosts, progress)
        await writer.close.remote()
    finally:
        for host in hosts:
            host.kill()
        if writer is not None:
            ray.kill(writer)


async def _play_here(job: Job, models: Models, progress: Callable[[Progress], None] | None) -> None:
    file = EpisodeFile(job.out_dir)

    async def write(lines: list[str]) -> None:
        file.append(lines)

    player = EpisodePlayer(job.play, models, write)
    try:
        async with job.sight.shown():
            await _drive(job, job.owed, [_LocalHost(player)], progress)
    finally:
        player.close()
        file.close()


async def _drive(
    job: Job,
    specs: Sequence[EpisodeSpec],
    hosts: Sequence[Host],
    progress: Callable[[Progress], None] | None,
) -> None:
    driver = job.driver(specs, progress)
    try:
        await driver.run(hosts, job.in_flight)
    finally:
        job.retries += driver.state.retries


async def _mind_engines(engines: dict[str, Any], patience_s: float) -> None:
    """Restart an engine that runs calls and finishes none: a process that answers is not yet one that works."""
    while engines:
        await asyncio.sleep(min(15.0, patience_s / 4))
        for name, engine in engines.items():
            try:
                metrics = await asyncio.wait_for(engine.metrics.remote(), patience_s)
            except RayActorError:
                continue  # Ray is restarting it.
            except TimeoutError:
                log.warning("%s has not answered for %.0f s: restarting it", name, patience_s)
                ray.kill(engine, no_restart=False)
                continue
            if metrics.running and metrics.idle_s > patience_s:
                log.warning(
                    "%s finished none of %d calls in %.0f s: restarting it",
                    name,
                    metrics.running,
                    metrics.idle_s,
                )
                ray.kill(engine, no_restart=False)


def _unique(role: str) -> str:
    """A Ray actor's name that no other rollout of this cluster has."""
    return f"offbook-{role}-{uuid.uuid4().hex[:12]}"


def _phases(specs: Sequence[EpisodeSpec], *, apart: bool) -> list[list[EpisodeSpec]]:
    """One phase per adapter where weights are swapped, so that no episode waits for the other adapter's turn."""
    if not apart:
        return [list(specs)]
    by_adapter: dict[str | None, list[EpisodeSpec]] = {}
    for spec in specs:
        by_adapter.setdefault(spec.adapter, []).append(spec)
    return list(by_adapter.values())


def _require_cpus(needed: int, what: str, patience_s: float = 30.0) -> None:
    """An actor that no node can hold would wait for ever; CPUs of actors just killed come free within seconds."""
    total = ray.cluster_resources().get("CPU", 0)
    until = time.monotonic() + (patience_s if needed <= total else 0)
    while (free := ray.available_resources().get("CPU", 0)) < needed:
        if time.monotonic() >= until:
            raise RolloutError(
                f"{what} need {needed} CPUs but {free:g} of the cluster's {total:g} are free; "
                "start Ray with more (they admit actors and bind no cores), or lower replicas or num_hosts"
            )
        time.sleep(0.1)
