"""Plays episodes in one process, many at a time, and hands finished ones on. An env host is this inside a Ray actor."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from actors.agents.base import Agent
from actors.chat import Generate, Sampling
from actors.config import (
    BudgetConfig,
    EndpointConfig,
    ModelConfig,
    SamplingConfig,
    ScriptedModelConfig,
)
from actors.episode import EpisodeLost, EpisodeSpec, episode_id, run_episode
from actors.host_meters import HostMeters
from actors.meters import Meters, NoMeters
from actors.metrics import SLOTS_BUSY, UNWRITTEN
from actors.store import to_line
from actors.trajectory import EndReason, Trajectory
from envs.base import TextEnv
from envs.config import EnvConfig
from envs.registry import open_env

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayConfig:
    """All that a host needs to know to play."""

    env: EnvConfig
    agent: Agent
    """Made once for all hosts: they need no file of its examples, and none that changes meanwhile parts them."""
    model: ModelConfig
    budget: BudgetConfig
    sampling: SamplingConfig
    slots: int
    flush_every_s: float
    run: str = ""
    """What metrics call the rollout's run."""
    host: str = ""
    """What metrics call the host; empty: where it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An episode that is on disk."""

    end: EndReason
    success: bool
    num_turns: int
    completion_tokens: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    host: str = ""
    """Which of a pool's hosts played it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An episode that left nothing."""

    reason: str
    retryable: bool
    outage: bool = False
    """What it ran on went away under it: its host, or its engine."""
    host: str = ""
    """As in `Ended`."""


class Models(Protocol):
    """Where a host's episodes find their model."""

    def generate_for(self, adapter: str | None) -> Generate: ...

    def end_session(self, session: str) -> None: ...


@dataclass(slots=True)
class OneModel:
    """A model that needs no engine: every adapter is answered by it."""

    generate: Generate

    def generate_for(self, adapter: str | None) -> Generate:
        return self.generate

    def end_session(self, session: str) -> None:
        pass


def open_model(config: ModelConfig) -> Models:
    """The client of a model that runs elsewhere, or the scripted one."""
    if isinstance(config, ScriptedModelConfig):
        from actors.scripted import ScriptedModel

        return OneModel(ScriptedModel(config))
    if isinstance(config, EndpointConfig) and config.base_urls:
        from actors.endpoints import Endpoints

        return Endpoints(config)
    if isinstance(config, EndpointConfig):
        from actors.openai_chat import OpenAIChat

        return OneModel(OpenAIChat(config))
    raise ValueError(f"model kind {config.kind!r} needs engines: start a Fleet")


class Outbox:
    """Batches finished lines for a slow, durable writer: while one batch is being written, the next one gathers."""

    def __init__(self, write: Callable[[list[str]], Awaitable[None]], gather_s: float) -> None:
        self._write, self._gather_s = write, gather_s
        # No longer than callers wait, each for its own line: `EpisodePlayer` lets as many in as it has slots.
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def put(self, line: str) -> None:
        """Returns when the line is on disk."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, future))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await future

    async def _flush(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._gather_s)
            batch, self._waiting = self._waiting, []
            try:
                await self._write([line for line, _ in batch])
            except Exception as error:  # noqa: BLE001 - whoever waits for the disk must hear of it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for _, future in batch:
                if not future.done():
                    future.set_result(None)


class EpisodePlayer:
    """`slots` episodes at a time; environments are reused from episode to episode."""

    def __init__(
        self,
        config: PlayConfig,
        models: Models,
        write: Callable[[list[str]], Awaitable[None]],
        meters: Meters | None = None,
    ) -> None:
        self._config, self._models = config, models
        meters = meters or NoMeters()
        self._meters, self._busy = HostMeters(meters=meters), 0
        self._agent = config.agent
        self._sampling = Sampling(
            temperature=config.sampling.temperature,
            top_p=config.sampling.top_p,
            max_tokens=config.sampling.max_tokens,
        )
        self._slots = asyncio.Semaphore(config.slots)
        # As many records as slots wait for the writer, then an ended episode keeps its slot: a slow disk slows play, and fills no memory.
        self._unwritten = asyncio.Semaphore(config.slots)
        self._idle_envs: list[
            TextEnv
        ] = []  # At most as many as slots: an episode takes one before any is opened.
        self._outbox = Outbox(write, min(0.1, config.flush_every_s / 2))
        meters.watch(SLOTS_BUSY, lambda: self._busy)
        meters.watch(UNWRITTEN, lambda: self._outbox.waiting)

    async def play(self, spec: EpisodeSpec, lost: int) -> Ended | Lost:
        """One attempt after `lost` lost ones. The slot is free again before the record is on disk, if the writer keeps up."""
        async with self._slots:
            self._busy += 1
            try:
                outcome = await self._attempt(spec)
            finally:
                self._busy -= 1
            if isinstance(outcome, Lost):
                return outcome
            trajectory = replace(outcome, retries=lost)
            await self._unwritten.acquire()
        try:
            await self._outbox.put(to_line(trajectory))
        finally:
            self._unwritten.release()
        return Ended(
            end=trajectory.end,
            success=trajectory.success,
            num_turns=len(trajectory.turns),
            completion_tokens=trajectory.completion_tokens,
            prompt_tokens=trajectory.prompt_tokens,
            cached_tokens=trajectory.cached_tokens,
        )

    async def record(self, trajectory: Trajectory) -> None:
        """Write a record that was not played here, such as that of a lost episode."""
        async with self._unwritten:
            await self._outbox.put(to_line(trajectory))

    def close(self) -> None:
        for env in self._idle_envs:
            env.close()
        self._idle_envs.clear()

    async def _attempt(self, spec: EpisodeSpec) -> Trajectory | Lost:
        config, env = self._config, None
        session = episode_id(spec, self._agent.name, config.model.model)
        try:
            env = self._idle_envs.pop() if self._idle_envs else self._meters.env(open_env(config.env))
            trajectory = await run_episode(
                env,
                self._agent,
                self._meters.model(self._models.generate_for(spec.adapter), spec),
                spec,
                config.budget,
                self._sampling,
                config.model.model,
            )
        except EpisodeLost as lost:
            _close(env)
            return Lost(reason=lost.reason, retryable=lost.retryable, outage=lost.outage)
        except Exception as error:  # the boundary of the episode: whatever broke, the others play on
            log.exception("episode %s of %s was lost", session, spec.task.key)
            _close(env)
            return Lost(reason=f"{type(error).__name__}: {error}", retryable=True)
        finally:
            self._models.end_session(session)
        self._idle_envs.append(env)
        return trajectory


def _close(env: TextEnv | None) -> None:
    # An environment that failed in the middle of an episode is not trusted with the next one.
    if env is not None:
        with suppress(Exception):
            env.close()
