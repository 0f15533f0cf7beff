"""One env host of a rollout: its actor, and whether it works."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from actors.cluster import NodeWatch
from actors.episode import EpisodeSpec
from actors.health import Heartbeat
from actors.host_pool import HostPool
from actors.pulse import HostPulse, Membership, Report
from actors.trajectory import Trajectory

log = logging.getLogger(__name__)

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
        self.retiring = False
        self._actor, self._pool, self._membership, self._nodes = start(), pool, membership, nodes
        self._patience_s = patience_s
        self._pulse: HostPulse | None = None

    async def play(self, spec: EpisodeSpec, lost: int, engine: str | None) -> Report | None:
        try:
            return await self._actor.play.remote(spec, lost, engine)
        except RayActorError:
            return None

    async def record(self, trajectory: Trajectory) -> bool:
        try:
            await self._actor.record.remote(trajectory)
        except RayActorError:
            return False
        return True

    def retire(self) -> None:
        self.retiring = True

    async def live(self) -> None:
        try:
            self._pulse = await self._actor.pulse.remote(None)
            self._pool.join(self)
            await self._mind()
        finally:
            self._pool.leave(self)

    async def _mind(self) -> None:
        beat, away_s, pause_s = Heartbeat(self._patience_s), 0.0, min(_LOOK_EVERY_S, self._patience_s / 4)
        while not self._is_done():
            try:
                # Not `wait_for`: in Python 3.11 it may swallow the cancellation that ends the rollout.
                async with asyncio.timeout(self._patience_s):
                    pulse = await self._actor.pulse.remote(self._news())
            except RayActorError as error:
                self._pool.mark_dead(self)
                beat.restart()
                away_s += pause_s
                if self.retiring or away_s > _AWAY_S:
                    raise RuntimeError(f"it is gone ({type(error).__name__})") from error
            except TimeoutError:
                self._restart(f"has not answered for {self._patience_s:.0f} s", beat)
            else:
                away_s, self._pulse = 0.0, pulse
                self._pool.note(self, pulse)
                if not beat.note(pulse.steps, busy=pulse.playing > 0):
                    self._restart(f"stepped none of {pulse.playing} episodes in {beat.silent_s:.0f} s", beat)
            await asyncio.sleep(pause_s)

    def close(self) -> None:
        with suppress(RayError):
            ray.kill(self._actor)

    def _news(self) -> Membership | None:
        """The engines, where the host knows others."""
        current = self._membership()
        return None if self._pulse and self._pulse.membership == current.version else current

    def _is_done(self) -> bool:
        assert self._pulse is not None
        if self._pulse.node in self._nodes.draining and not self.retiring:
            log.warning("%s drains with its node: its episodes end there, new ones go elsewhere", self.name)
            self.retiring = True
            self._pool.drain(self)
        return self.retiring and self._pool.playing(self) == 0

    def _restart(self, why: str, beat: Heartbeat) -> None:
        log.warning("%s %s: restarting it; its episodes are played again", self.name, why)
        self._pool.mark_dead(self)
        ray.kill(self._actor, no_restart=False)
        beat.restart()
