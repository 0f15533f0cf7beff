"""Many environments in one process, as a Ray actor with one CPU, and its line to the engines."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.chat import GenerateError
from actors.cluster import this_node
from actors.counting import CountedModels
from actors.engine_client import EngineClient
from actors.episode import EpisodeSpec, episode_id
from actors.line import LineCutError, Port
from actors.placed import PlacedModels
from actors.player import EpisodePlayer, Models, PlayConfig, open_model
from actors.pulse import HostPulse, Membership, Report
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
        membership: Membership,
        writer: str,
        find: Callable[[str], Any] = ray.get_actor,
    ) -> None:
        """`writer` is the name of an actor, as those in `membership` are."""
        self._config, self._membership, self._writer_name = config, membership, writer
        self._find = find
        self._writer: Any = None
        self._player: EpisodePlayer | None = None
        self._models: CountedModels | None = None
        self._placed: PlacedModels | None = None
        self._client: EngineClient | None = None
        self._attempts = 0
        self._starting, self._told = asyncio.Lock(), asyncio.Event()

    async def play(self, spec: EpisodeSpec, lost: int, engine: str | None) -> Report:
        player = await self._started()
        assert self._models is not None
        session = episode_id(spec, self._config.agent.name, self._config.model.model)
        if engine is not None and self._placed is not None:
            self._placed.place(session, engine)
        try:
            outcome = await player.play(spec, lost)
        finally:
            self._attempts += 1
            tokens = self._models.take_size(session)
        return Report(
            outcome=outcome, tokens=tokens, unreachable=self._placed.unreachable if self._placed else ()
        )

    async def record(self, trajectory: Trajectory) -> None:
        await (await self._started()).record(trajectory)

    async def pulse(self, news: Membership | None) -> HostPulse:
        """A sign of life; `news`: the engines, where they are others than the last pulse knew."""
        if news is not None and news.version != self._membership.version:
            self._membership = news
            self._told.set()
            if self._client is not None:
                self._client.update(self._ports(self._client.engines), news.draining)
        models, placed = self._models, self._placed
        return HostPulse(
            node=this_node(),
            membership=self._membership.version,
            turns=models.turns if models else 0,
            ended=self._attempts,
            playing=models.playing if models else 0,
            held_tokens=placed.held_tokens if placed else {},
            unreachable=placed.unreachable if placed else (),
        )

    async def _started(self) -> EpisodePlayer:
        # Not in the constructor, which has no event loop; not at the first turn, whose time limit it would eat into.
        async with self._starting:
            if self._player is None:
                self._writer = self._find(self._writer_name)
                config = self._config
                models = await self._open_models()
                self._placed = models if isinstance(models, PlacedModels) else None
                self._models = CountedModels(models)
                meters = open_actor_meters("host", run=config.run, host=config.host or actor_label())
                self._player = EpisodePlayer(config, self._models, self._write, meters)
            return self._player

    async def _open_models(self) -> Models:
        if self._config.model.kind != "vllm":
            return open_model(self._config.model)
        # Before the engine's tokenizer is unpickled, which would bring PyTorch along.
        import_tokenizers()
        while not (ports := self._ports({})):
            # The engines that it was told of are gone; the next pulse names others.
            self._told.clear()
            await self._told.wait()
        self._client = await EngineClient.connect(ports)
        # Who has joined while it connected.
        self._client.update(self._ports(ports), self._membership.draining)
        return self._client

    def _ports(self, known: Mapping[str, Port]) -> dict[str, Port]:
        """A line's end for each engine that there is."""
        ports: dict[str, Port] = {}
        for name, actor in self._membership.engines.items():
            with suppress(ValueError):  # Ray's word for a name that no living actor has.
                ports[name] = known[name] if name in known else EngineActorPort(self._find(actor))
        return ports

    async def _write(self, lines: list[str]) -> None:
        while True:
            try:
                await self._writer.append.remote(lines)
                return
            except RayActorError:
                # The writer comes back and cuts off what it left half-written; a line twice is one record.
                await asyncio.sleep(0.5)


def host_actor(config: PlayConfig, membership: Membership, writer: str) -> Any:
    remote = ray.remote(EnvHost).options(
        num_cpus=1,
        max_restarts=100,
        max_concurrency=4 * config.slots + 16,
        # One node that goes then takes few of a rollout's hosts with it.
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}},
    )
    return remote.remote(config, membership, writer)
