"""One engine of a fleet: its place on a node, its actor, and whether it works."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayError

from actors.cluster import Bundle, NodeWatch, unique_name
from actors.config import EngineConfig
from actors.health import Heartbeat

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0
_AWAY_S = 600.0


class Roster(Protocol):
    """Who hears of an engine's fate. `name` as in `Replica.name`."""

    def join(self, name: str, capacity_tokens: int | None) -> None: ...

    def drain(self, name: str) -> None: ...

    def mark_dead(self, name: str) -> None: ...

    def mark_alive(self, name: str) -> None: ...

    def leave(self, name: str) -> None: ...

    def taken(self, name: str) -> int: ...


class Replica:
    """A crew's member. Ray starts its process again when it dies; what cannot be mended so is dismissed, and another one takes its place."""

    def __init__(self, number: int, config: EngineConfig, cores: int, kind: Any) -> None:
        from actors.engine import engine_actor, gpus_of

        self.name = f"engine {number}"
        self.actor_name = unique_name(f"engine-{number}")
        self._bundle = Bundle(gpus=gpus_of(config), name=self.actor_name)
        self.actor = engine_actor(config, cores, self.actor_name, kind, self._bundle.strategy)
        self.starting = self.actor.info.remote()
        self.info: Any = None
        """`EngineInfo`, once it is ready."""
        self.metrics: Any = None
        """The last `EngineMetrics`."""
        self.retiring = False
        # Set for each rollout.
        self.roster: Roster | None = None
        self.nodes: NodeWatch | None = None
        self.patience_s = 240.0

    def settle(self) -> None:
        """Take note that it is ready, and raise what kept it from being so."""
        self.info = ray.get(self.starting)

    async def live(self) -> None:
        assert self.roster is not None
        if self.info is None:
            self.info = await self.starting
            log.info("%s has joined", self.name)
            self.roster.join(self.name, self.info.kv_capacity_tokens)
        beat, away_s, pause_s = Heartbeat(self.patience_s), 0.0, min(_LOOK_EVERY_S, self.patience_s / 4)
        while True:
            if self._is_drained():
                return
            try:
                # Not `wait_for`: in Python 3.11 it may swallow the cancellation that ends the rollout.
                async with asyncio.timeout(self.patience_s):
                    self.metrics = await self.actor.metrics.remote()
            except RayActorError as error:
                self.roster.mark_dead(self.name)
                beat.restart()
                away_s += pause_s
                if self.retiring or away_s > _AWAY_S:
                    raise RuntimeError(f"it is gone ({type(error).__name__})") from error
            except TimeoutError:
                self._restart(f"has not answered for {self.patience_s:.0f} s", beat)
            else:
                away_s = 0.0
                self.roster.mark_alive(self.name)
                if not beat.note(self.metrics.drawn_tokens, busy=self.metrics.running > 0):
                    silent = f"drew no token for {self.metrics.running} calls in {beat.silent_s:.0f} s"
                    self._restart(silent, beat)
            await asyncio.sleep(pause_s)

    def close(self) -> None:
        if self.roster is not None:
            self.roster.leave(self.name)
        with suppress(RayError):
            ray.kill(self.actor)
        self._bundle.free()

    def _is_drained(self) -> bool:
        assert self.roster is not None
        node = self.metrics.node if self.metrics else self.info.node
        if self.nodes is not None and node in self.nodes.draining and not self.retiring:
            log.warning("%s drains with its node: its episodes end there, new ones go elsewhere", self.name)
            self.retiring = True
            self.roster.drain(self.name)
        return self.retiring and self.roster.taken(self.name) == 0

    def _restart(self, why: str, beat: Heartbeat) -> None:
        assert self.roster is not None
        log.warning("%s %s: restarting it", self.name, why)
        self.roster.mark_dead(self.name)
        ray.kill(self.actor, no_restart=False)
        beat.restart()
