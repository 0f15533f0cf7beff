"""One engine of a fleet: its place on a node, its actor, and whether it works."""

import logging
from contextlib import suppress
from typing import Any, Protocol

import ray
from ray.exceptions import RayError

from actors.cluster import Bundle, NodeWatch, unique_name
from actors.config import EngineConfig
from actors.watch import Patience, Sign, watch

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

    def __init__(self, number: int, config: EngineConfig, cores: int, kind: Any, roster: Roster) -> None:
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
        self.roster = roster
        # Set for each rollout.
        self.nodes: NodeWatch | None = None
        self.patience_s = 240.0

    def settle(self) -> None:
        """Take note that it is ready, and raise what kept it from being so."""
        self.info = ray.get(self.starting)

    async def live(self) -> None:
        if self.info is None:
            self.info = await self.starting
            log.info("%s has joined", self.name)
            self.roster.join(self.name, self.info.kv_capacity_tokens)
        assert self.nodes is not None
        await watch(
            self,
            self.nodes,
            Patience(stuck_s=self.patience_s, gone_s=_AWAY_S, look_every_s=_LOOK_EVERY_S),
        )

    async def look(self) -> Sign:
        self.metrics = await self.actor.metrics.remote()
        self.roster.mark_alive(self.name)
        running = self.metrics.running
        return Sign(self.metrics.drawn_tokens, running, f"drew no token for {running} calls")

    @property
    def node(self) -> str:
        return self.metrics.node if self.metrics else self.info.node

    @property
    def in_hand(self) -> int:
        return self.roster.taken(self.name)

    def drain(self) -> None:
        self.roster.drain(self.name)

    def mark_dead(self, *, stuck: bool) -> None:
        self.roster.mark_dead(self.name)

    def close(self) -> None:
        self.roster.leave(self.name)
        with suppress(RayError):
            ray.kill(self.actor)
        self._bundle.free()
