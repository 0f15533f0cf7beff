"""All hosts of a rollout as the one `Host` that the driver knows: where an episode is played and on which engine. Knows no Ray."""

import asyncio
import logging
from dataclasses import replace
from typing import Protocol

from actors.admission import Growth
from actors.episode import EpisodeSpec
from actors.player import Ended, Lost
from actors.pulse import HostPulse, Report
from actors.seats import Seat, Seats
from actors.trajectory import Trajectory

log = logging.getLogger(__name__)

_LOSSES_BEFORE_REST = 3
_LONGEST_REST_S = 60.0


class PooledHost(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def was_stuck(self) -> bool:
        """Its process was ended because it did not get on, for which one of its episodes may be to blame."""
        ...

    async def play(self, spec: EpisodeSpec, lost: int, engine: str | None) -> Report | None:
        """None: its process died under the episode."""
        ...

    async def record(self, trajectory: Trajectory) -> bool:
        """False: its process died before the record was on disk."""
        ...

    def retire(self) -> None:
        """It has played as many episodes as it may."""
        ...


class HostPool:
    """Episodes go to the host with the fewest of them, and begin once an engine has room. What was lost is tried elsewhere."""

    name = "a host"

    def __init__(
        self,
        per_host: int,
        engines: Seats | None,
        *,
        recycle_after: int = 10_000,
        first_guess: int | None = None,
    ) -> None:
        """`engines`: None where the model needs none. `first_guess`: see `Growth`."""
        self._places, self._engines = Seats(per_host), engines
        self._recycle_after = recycle_after
        self._hosts: dict[str, PooledHost] = {}
        self._played: dict[str, int] = {}
        self._losses_in_a_row: dict[str, int] = {}
        self._rests: dict[str, int] = {}
        self._resting: set[str] = set()
        self._lost_at: dict[tuple[str, str, int], str] = {}
        self._changed = asyncio.Event()
        self.growth = Growth(first_guess)
        self.pulses: dict[str, HostPulse] = {}
        """The last of each host that is there."""

    def join(self, host: PooledHost) -> None:
        self._hosts[host.name], self._played[host.name] = host, 0
        self._places.join(host.name)
        self._changed.set()

    def leave(self, host: PooledHost) -> None:
        self._note_tokens(host.name, None)
        if self._hosts.pop(host.name, None):
            self._places.leave(host.name)

    def drain(self, host: PooledHost) -> None:
        """No new episode for it."""
        self._places.drain(host.name)

    def mark_dead(self, host: PooledHost) -> None:
        self._places.mark_dead(host.name)
        self._losses_in_a_row.pop(host.name, None)  # What is started again is another process.
        self._resting.discard(host.name)
        self._note_tokens(host.name, None)

    def note(self, host: PooledHost, pulse: HostPulse) -> None:
        """A sign of life."""
        if host.name not in self._resting:
            self._places.mark_alive(host.name)
        self._note_tokens(host.name, pulse)
        self._note_unreachable(pulse.unreachable)
        self._changed.set()

    def playing(self, host: PooledHost) -> int:
        return self._places.taken(host.name)

    @property
    def open(self) -> int:
        """Hosts that take episodes."""
        return self._places.open

    async def wait_for(self, number: int) -> None:
        while self.open < number:
            self._changed.clear()
            await self._changed.wait()

    async def play(self, spec: EpisodeSpec, lost: int) -> Ended | Lost:
        key = (spec.task.key, spec.arm, spec.seed)
        place, host = await self._place(self._lost_at.get(key))
        self._note_begun(host)
        try:
            report = await self._play_at(host, spec, lost)
            # Before the place is free, for which others wait: it would be given to them.
            outcome = self._judge(host, report)
        finally:
            self._places.give_back(place)
        if isinstance(outcome, Lost):
            self._lost_at[key] = host.name
        else:
            self._lost_at.pop(key, None)
        return outcome

    async def record(self, trajectory: Trajectory) -> None:
        while True:
            place, host = await self._place()
            try:
                if await host.record(trajectory):
                    return
                self.mark_dead(host)
            finally:
                self._places.give_back(place)

    async def _place(self, avoid: str | None = None) -> tuple[Seat, PooledHost]:
        while True:
            place = await self._places.take(avoid=avoid)
            if host := self._hosts.get(place.at):
                return place, host
            self._places.give_back(place)  # It left between the promise and now.

    async def _play_at(self, host: PooledHost, spec: EpisodeSpec, lost: int) -> Report | None:
        if self._engines is None:
            return await host.play(spec, lost, None)
        seat = await self._engines.take(lambda: self.growth.room)
        try:
            return await host.play(spec, lost, seat.at)
        finally:
            self._engines.give_back(seat)

    def _judge(self, host: PooledHost, report: Report | None) -> Ended | Lost:
        if report is None:
            self.mark_dead(host)
            how = "was stuck and ended" if host.was_stuck else "died"
            return Lost(
                reason=f"{host.name} {how}", retryable=True, outage=not host.was_stuck, host=host.name
            )
        self._note_unreachable(report.unreachable)
        if isinstance(report.outcome, Ended):
            self.growth.note_ended(report.tokens)
        self._rest_after_losses(host, report)
        return replace(report.outcome, host=host.name)

    def _note_begun(self, host: PooledHost) -> None:
        self._played[host.name] += 1
        if self._played[host.name] == self._recycle_after:
            self._places.drain(host.name)
            host.retire()

    def _note_tokens(self, name: str, pulse: HostPulse | None) -> None:
        before = self.pulses.pop(name, None)
        if pulse is not None:
            self.pulses[name] = pulse
        held, was = (sum(p.held_tokens.values()) if p else 0 for p in (pulse, before))
        self.growth.running_tokens += held - was
        if self._engines is not None:
            self._engines.note_held(f"{id(self)} {name}", pulse.held_tokens if pulse else {})

    def _note_unreachable(self, engines: tuple[str, ...]) -> None:
        if self._engines is not None:
            for engine in engines:
                self._engines.mark_dead(engine)

    def _rest_after_losses(self, host: PooledHost, report: Report) -> None:
        """A host that loses whatever it is given has always room, and would be given everything."""
        if isinstance(report.outcome, Ended):
            self._losses_in_a_row.pop(host.name, None)
            self._rests.pop(host.name, None)
        elif host.name not in self._resting and not report.unreachable:  # Else the engine is to blame.
            losses = self._losses_in_a_row[host.name] = self._losses_in_a_row.get(host.name, 0) + 1
            if losses >= _LOSSES_BEFORE_REST and self.open > 1:
                self._rest(host.name)

    def _rest(self, name: str) -> None:
        rests = self._rests[name] = self._rests.get(name, -1) + 1
        self._resting.add(name)
        self._places.mark_dead(name)
        asyncio.get_running_loop().call_later(min(_LONGEST_REST_S, 2.0**rests), self._end_rest, name)

    def _end_rest(self, name: str) -> None:
        self._resting.discard(name)
        self._losses_in_a_row.pop(name, None)
        self._places.mark_alive(name)
