"""Gives owed episodes to hosts until all have ended. Holds what is in flight and counters, and knows no Ray: hosts are behind `Host`."""

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from actors.episode import EpisodeSpec, lost_trajectory
from actors.loss_log import LossLog
from actors.meters import Meters, NoMeters
from actors.metrics import EPISODE_TURNS, EPISODES, LOST, NO_ADAPTER
from actors.owed import Owed
from actors.player import Ended, Lost
from actors.retry import Again, Breaker, RetryPolicy
from actors.trajectory import EndReason, Trajectory

_DIGITS = re.compile(r"\d+")
_MOST_KINDS = 32


class RolloutError(RuntimeError):
    """The rollout cannot go on; what had ended is on disk, and the same call goes on from there."""


class Host(Protocol):
    name: str

    async def play(self, spec: EpisodeSpec, lost: int) -> Ended | Lost:
        """One attempt. A host that dies answers `Lost` and is ready again, or raises `RolloutError`, at the next call."""
        ...

    async def record(self, trajectory: Trajectory) -> None: ...


@dataclass(slots=True)
class Progress:
    """Where a rollout stands; handed to the caller at every ended episode."""

    total: int
    ended: int = 0
    successes: int = 0
    errors: int = 0
    retries: int = 0
    in_flight: int = 0
    turns: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    """Lost attempts by their reason, numbers in it left out."""
    last_ended: float | None = None
    """Unix time."""
    began: float = field(default_factory=time.monotonic)
    last_event: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def note_loss(self, reason: str) -> None:
        kind = _DIGITS.sub("N", reason.strip().split("\n")[0])[:120]
        # A reason with a text of its own in every episode must not grow the driver.
        self.losses[kind if kind in self.losses or len(self.losses) < _MOST_KINDS else "other"] += 1


@dataclass(slots=True)
class _Attempt:
    spec: EpisodeSpec
    lost: int = 0
    outages: int = 0
    """Of those lost."""


class Driver:
    """`in_flight` episodes at a time at every host; a host takes the next one as soon as one of its own has ended."""

    def __init__(
        self,
        specs: Owed | Collection[EpisodeSpec],
        *,
        agent_name: str,
        model_name: str,
        policy: RetryPolicy,
        breaker: Breaker,
        stall_s: float,
        progress: Callable[[Progress], None] | None = None,
        meters: Meters | None = None,
    ) -> None:
        self.state = Progress(total=len(specs))
        self._fresh, self._num_fresh = iter(specs), len(specs)
        # Lost ones that wait for another try: no more of them than hosts have in flight, for each is put back by whoever lost it.
        self._again: deque[_Attempt] = deque()
        self._names = (agent_name, model_name)
        self._policy, self._breaker, self._stall_s = policy, breaker, stall_s
        self._report, self._losses = progress, LossLog()
        self._meters = meters or NoMeters()
        self._changed = asyncio.Condition()
        self._over = asyncio.Event()

    async def run(self, hosts: Sequence[Host], in_flight: int) -> Progress:
        """Raises `RolloutError` when errors follow errors or nothing moves any more."""
        workers = [self._work(host) for host in hosts for _ in range(min(in_flight, self.state.total))]
        tasks = [asyncio.create_task(work) for work in [*workers, self._watch()]]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._losses.flush()
        return self.state

    async def _work(self, host: Host) -> None:
        while (attempt := await self._next()) is not None:
            self.state.in_flight += 1
            try:
                outcome = await host.play(attempt.spec, attempt.lost)
            finally:
                self.state.in_flight -= 1
            self.state.last_event = time.monotonic()
            if isinstance(outcome, Lost):
                await self._lose(host, attempt, outcome)
            else:
                await self._count(host, attempt.spec, outcome)

    async def _next(self) -> _Attempt | None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._again or self._num_fresh or self._finished)
            if self._again:
                return self._again.popleft()
            if not self._num_fresh:
                return None
            self._num_fresh -= 1
            return _Attempt(next(self._fresh))

    @property
    def _finished(self) -> bool:
        return self.state.ended == self.state.total

    async def _lose(self, host: Host, attempt: _Attempt, loss: Lost) -> None:
        attempt.lost += 1
        attempt.outages += loss.outage
        self.state.note_loss(loss.reason)
        self._meters.count(LOST, arm=attempt.spec.arm, host=loss.host or host.name)
        decision = self._policy.decide(lost=attempt.lost, outages=attempt.outages, retryable=loss.retryable)
        given_up = not isinstance(decision, Again)
        self._losses.note(host.name, loss.reason, attempt.spec.task.key, given_up=given_up)
        if isinstance(decision, Again):
            self.state.retries += 1
            # The worker waits with its episode: while the fault lasts, no new episodes run into it.
            await asyncio.sleep(decision.delay_s)
            async with self._changed:
                self._again.append(attempt)
                self._changed.notify()
            return
        trajectory = lost_trajectory(attempt.spec, *self._names, loss.reason, attempt.lost - 1)
        await host.record(trajectory)
        ended = Ended(end=EndReason.ERROR, success=False, num_turns=0, completion_tokens=0, host=loss.host)
        await self._count(host, attempt.spec, ended)
        if self._breaker.record(error=True):
            raise RolloutError(
                f"episode after episode was lost, the last one because: {loss.reason}; "
                f"{self.state.ended - self.state.errors} ended well before and are kept: mend the cause and start again"
            )

    async def _count(self, host: Host, spec: EpisodeSpec, ended: Ended) -> None:
        state = self.state
        state.ended += 1
        state.successes += ended.success
        state.errors += ended.end == EndReason.ERROR
        state.turns += ended.num_turns
        state.prompt_tokens += ended.prompt_tokens
        state.cached_tokens += ended.cached_tokens
        state.completion_tokens += ended.completion_tokens
        state.last_ended = time.time()
        if ended.end != EndReason.ERROR:
            self._breaker.record(error=False)
        self._measure(ended.host or host.name, spec, ended)
        if self._report:
            self._report(state)
        if self._finished:
            self._over.set()
            async with self._changed:
                self._changed.notify_all()

    def _measure(self, host: str, spec: EpisodeSpec, ended: Ended) -> None:
        outcome = "success" if ended.success else str(ended.end)
        adapter = spec.recorded_adapter or NO_ADAPTER
        self._meters.count(EPISODES, arm=spec.arm, adapter=adapter, host=host, outcome=outcome)
        if ended.num_turns:
            self._meters.observe(EPISODE_TURNS, ended.num_turns, arm=spec.arm)

    async def _watch(self) -> None:
        while not self._finished:
            # Not a plain sleep: nobody waits for the watch to wake when the last episode has ended.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), min(5.0, self._stall_s / 4))
            silent = time.monotonic() - self.state.last_event
            if silent > self._stall_s and not self._finished:
                raise RolloutError(
                    f"no episode has ended or been lost for {silent:.0f} s; {self.state.ended} of {self.state.total} ended, "
                    f"{self._num_fresh} not started: the engines or hosts hang; start again to go on from here"
                )
