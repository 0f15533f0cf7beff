"""One env host of a rollout: its actor, and whether it works."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.cluster import NodeWatch
from actors.episode import EpisodeSpec
from actors.host_pool import HostPool
from actors.pulse import HostPulse, Membership, Report
from actors.trajectory import Trajectory
from actors.watch import Patience, Sign, watch

_LOOK_EVERY_S = 2.0
_AWAY_S = 300.0


class RayHost:
    """A crew's member and one of a pool's hosts."""

    def __init__(
        self,
        number: int,
        start: Callable[[], Any],
        pool: HostPool,
        membership: Callable[[], Membership],
        nodes: NodeWatch,
        patience_s: float,
    ) -> None:
        """`membership`: the engines of the moment, told to the host when they change. `patience_s`: without an answer, or with
        episodes and no step, after which it is started again."""
        self.name = f"host {number}"
        self.retiring = self.was_stuck = False
        self.actor, self._pool, self._membership, self._nodes = start(), pool, membership, nodes
        self._patience = Patience(stuck_s=patience_s, gone_s=_AWAY_S, look_every_s=_LOOK_EVERY_S)
        self._pulse: HostPulse | None = None

    async def play(self, spec: EpisodeSpec, lost: int, engine: str | None) -> Report | None:
        try:
            return await self.actor.play.remote(spec, lost, engine)
        except RayActorError:
            return None

    async def record(self, trajectory: Trajectory) -> bool:
        try:
            await self.actor.record.remote(trajectory)
        except RayActorError:
            return False
        return True

    def retire(self) -> None:
        self.retiring = True

    async def live(self) -> None:
        try:
            self._pulse = await self.actor.pulse.remote(None)
            self._pool.join(self)
            await watch(self, self._nodes, self._patience)
        finally:
            self._pool.leave(self)

    async def look(self) -> Sign:
        self._pulse = await self.actor.pulse.remote(self._news())
        self.was_stuck = False
        self._pool.note(self, self._pulse)
        playing = self._pulse.playing
        return Sign(self._pulse.steps, playing, f"stepped none of {playing} episodes")

    @property
    def node(self) -> str:
        assert self._pulse is not None
        return self._pulse.node

    @property
    def in_hand(self) -> int:
        return self._pool.playing(self)

    def drain(self) -> None:
        self._pool.drain(self)

    def mark_dead(self, *, stuck: bool) -> None:
        self.was_stuck = stuck
        self._pool.mark_dead(self)

    def close(self) -> None:
        with suppress(RayError):
            ray.kill(self.actor)

    def _news(self) -> Membership | None:
        """The engines, where the host knows others."""
        current = self._membership()
        return None if self._pulse and self._pulse.membership == current.version else current
