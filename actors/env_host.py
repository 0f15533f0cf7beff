"""Many environments in one process, as a Ray actor with one CPU, and its line to the engines."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.chat import GenerateError
from actors.engine_client import EngineClient
from actors.episode import EpisodeSpec
from actors.line import LineCutError
from actors.player import Ended, EpisodePlayer, Lost, Models, PlayConfig, open_model
from actors.ray_meters import actor_label, open_actor_meters
from actors.tokenizer import import_tokenizers
from actors.trajectory import Trajectory
from actors.wire import Delivery, Request

log = logging.getLogger(__name__)


class EngineActorPort:
    """A line to an engine that is a Ray actor."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    async def post(self, line: str, requests: Sequence[Request], dropped: Sequence[int]) -> str:
        return await _answered(self._engine.post.remote(line, requests, dropped))

    async def collect(self, line: str) -> Delivery:
        return await _answered(self._engine.collect.remote(line))

    async def tokenizer(self) -> Any:
        return await _answered(self._engine.tokenizer.remote())

    async def wait_alive(self) -> None:
        while True:
            try:
                await self._engine.metrics.remote()
                return
            except RayActorError:
                await asyncio.sleep(0.5)


async def _answered(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except RayActorError as error:
        raise LineCutError(type(error).__name__) from error
    except RayError as error:
        # The engine lives; what else Ray may say of one call is over with the next.
        raise GenerateError(f"the engine failed: {error!r}", retryable=True) from error


class EnvHost:
    def __init__(
        self,
        config: PlayConfig,
        engines: Mapping[str, str],
        writer: str,
        find: Callable[[str], Any] = ray.get_actor,
    ) -> None:
        """`engines` by what the driver calls them and `writer` are the names of actors: handles would lie in the object store, and
        a host that Ray starts again on another node would not find them there."""
        self._config, self._engines, self._writer_name = config, engines, writer
        self._find = find
        self._writer: Any = None
        self._player: EpisodePlayer | None = None
        self._starting = asyncio.Lock()

    async def pid(self) -> int:
        return os.getpid()

    async def play(self, spec: EpisodeSpec, lost: int) -> Ended | Lost:
        return await (await self._started()).play(spec, lost)

    async def record(self, trajectory: Trajectory) -> None:
        await (await self._started()).record(trajectory)

    async def _started(self) -> EpisodePlayer:
        # Not in the constructor, which has no event loop; not at the first turn, whose time limit it would eat into.
        async with self._starting:
            if self._player is None:
                self._writer = self._find(self._writer_name)
                config = self._config
                meters = open_actor_meters("host", run=config.run, host=config.host or actor_label())
                self._player = EpisodePlayer(config, await self._open_models(), self._write, meters)
            return self._player

    async def _open_models(self) -> Models:
        if not self._engines:
            return open_model(self._config.model)
        # Before the engine's tokenizer is unpickled, which would bring PyTorch along.
        import_tokenizers()
        engines = {name: self._find(actor) for name, actor in self._engines.items()}
        return await EngineClient.connect({n: EngineActorPort(e) for n, e in engines.items()})

    async def _write(self, lines: list[str]) -> None:
        while True:
            try:
                await self._writer.append.remote(lines)
                return
            except RayActorError:
                # The writer comes back and cuts off what it left half-written; a line twice is one record.
                await asyncio.sleep(0.5)


def host_actor(config: PlayConfig, engines: Mapping[str, str], writer: str) -> Any:
    remote = ray.remote(EnvHost).options(
        num_cpus=1,
        max_restarts=100,
        max_concurrency=4 * config.slots + 16,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}},
    )
    return remote.remote(config, engines, writer)
