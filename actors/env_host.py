"""Many environments in one process, as a Ray actor with one CPU, and its line to the engines."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from actors.chat import Completion, Generate, GenerateError, Message, Sampling
from actors.episode import EpisodeSpec
from actors.models import ModelError
from actors.player import Ended, EpisodePlayer, Lost, PlayConfig, open_model
from actors.routing import NoEngineError, Router
from actors.trajectory import Trajectory

log = logging.getLogger(__name__)


class EngineClient:
    """Engines as one model: sessions stay with their engine, and move when it dies."""

    def __init__(self, engines: Mapping[str, Any]) -> None:
        self._engines = dict(engines)  # name -> actor handle
        self._router = Router(tuple(engines))
        self._back = asyncio.Event()
        self._probes: set[asyncio.Task[None]] = set()

    def generate_for(self, adapter: str | None) -> Generate:
        return _AdapterModel(client=self, adapter=adapter)

    def end_session(self, session: str) -> None:
        self._router.end_session(session)

    async def call(
        self, messages: Sequence[Message], sampling: Sampling, session: str, adapter: str | None
    ) -> Completion:
        name = await self._living_engine(session)
        try:
            return await self._engines[name].generate.remote(messages, sampling, adapter)
        except RayActorError as error:
            self._bury(name)
            raise GenerateError(
                f"{name} died during a call: {type(error).__name__}", retryable=True
            ) from error
        except RayTaskError as error:
            raise _cause(error, name) from error

    async def _living_engine(self, session: str) -> str:
        """The caller's time limit bounds the wait for an engine that is coming back."""
        while True:
            try:
                return self._router.engine_for(session)
            except NoEngineError:
                self._back.clear()
                await self._back.wait()

    def _bury(self, name: str) -> None:
        self._router.mark_dead(name)
        probe = asyncio.create_task(self._await_return(name))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _await_return(self, name: str) -> None:
        while True:
            try:
                await self._engines[name].metrics.remote()
            except RayActorError:
                await asyncio.sleep(0.5)
            else:
                self._router.mark_alive(name)
                self._back.set()
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class _AdapterModel:
    client: EngineClient
    adapter: str | None

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        return await self.client.call(messages, sampling, session, self.adapter)


class EnvHost:
    def __init__(self, config: PlayConfig, engines: Mapping[str, Any], writer: Any) -> None:
        self._config, self._engines, self._writer = config, engines, writer
        self._player: EpisodePlayer | None = None

    async def pid(self) -> int:
        return os.getpid()

    async def play(self, spec: EpisodeSpec, lost: int) -> Ended | Lost:
        return await self._started().play(spec, lost)

    async def record(self, trajectory: Trajectory) -> None:
        await self._started().record(trajectory)

    def _started(self) -> EpisodePlayer:
        # Built at the first call and not in the constructor, because it needs the actor's event loop.
        if self._player is None:
            models = EngineClient(self._engines) if self._engines else open_model(self._config.model)
            self._player = EpisodePlayer(self._config, models, self._write)
        return self._player

    async def _write(self, lines: list[str]) -> None:
        while True:
            try:
                await self._writer.append.remote(lines)
                return
            except RayActorError:
                # The writer comes back and cuts off what it left half-written; a line twice is one record.
                await asyncio.sleep(0.5)


def host_actor(config: PlayConfig, engines: Mapping[str, Any], writer: Any) -> Any:
    remote = ray.remote(EnvHost).options(
        num_cpus=1,
        max_restarts=100,
        max_concurrency=4 * config.slots + 16,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    return remote.remote(config, engines, writer)


def _cause(error: RayTaskError, name: str) -> GenerateError:
    cause = getattr(error, "cause", None)
    if isinstance(cause, GenerateError):
        return cause
    if isinstance(cause, ModelError):
        return GenerateError(str(cause), retryable=False)
    return GenerateError(f"{name} failed: {cause!r}", retryable=True)
