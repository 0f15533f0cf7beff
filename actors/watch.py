"""Whether an actor works, and what is done when it does not: it is started again, or leaves with its node."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError

from actors.cluster import NodeWatch
from actors.health import Heartbeat

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sign:
    """What an actor shows of its work."""

    done: int
    """Grows while it works."""
    in_work: int
    """It is busy where this is not 0."""
    idleness: str
    """What it must not do for long while it is busy, for the log: `drew no token for 3 calls`."""


class Watched(Protocol):
    name: str
    actor: Any
    retiring: bool

    @property
    def node(self) -> str:
        """Id of the one that it was last seen on."""
        ...

    @property
    def in_hand(self) -> int:
        """What must end before it may leave."""
        ...

    async def look(self) -> Sign:
        """Ask it, and take note of the answer. Raises `RayActorError` where its process is gone for the moment."""
        ...

    def mark_dead(self, *, stuck: bool) -> None:
        """`stuck`: its process was there and did not get on, so it is ended."""
        ...

    def drain(self) -> None:
        """Send it nothing new."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds."""

    stuck_s: float
    """Without an answer, or busy without getting on, after which it is started again."""
    gone_s: float
    """Without a process, after which Ray is not waited for any more."""
    look_every_s: float


async def watch(it: Watched, nodes: NodeWatch, patience: Patience) -> None:
    """Until it has retired and nothing is in its hands.

    Raises:
        RuntimeError: its process is gone and does not come back.
    """
    beat, away_s, pause_s = (
        Heartbeat(patience.stuck_s),
        0.0,
        min(patience.look_every_s, patience.stuck_s / 4),
    )

    def restart(why: str) -> None:
        log.warning("%s %s: restarting it", it.name, why)
        it.mark_dead(stuck=True)
        ray.kill(it.actor, no_restart=False)
        beat.restart()

    while not _has_left(it, nodes):
        try:
            # Not `wait_for`: in Python 3.11 it may swallow the cancellation that ends the rollout.
            async with asyncio.timeout(patience.stuck_s):
                sign = await it.look()
        except RayActorError as error:
            it.mark_dead(stuck=False)
            beat.restart()
            away_s += pause_s
            if it.retiring or away_s > patience.gone_s:
                raise RuntimeError(f"it is gone ({type(error).__name__})") from error
        except TimeoutError:
            restart(f"has not answered for {patience.stuck_s:.0f} s")
        else:
            away_s = 0.0
            if not beat.note(sign.done, busy=sign.in_work > 0):
                restart(f"{sign.idleness} in {beat.silent_s:.0f} s")
        await asyncio.sleep(pause_s)


def _has_left(it: Watched, nodes: NodeWatch) -> bool:
    if it.node in nodes.draining and not it.retiring:
        log.warning("%s drains with its node: its episodes end there, new ones go elsewhere", it.name)
        it.retiring = True
        it.drain()
    return it.retiring and it.in_hand == 0
