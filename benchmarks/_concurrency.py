"""The sweep over episodes in flight of `benchmarks/rollout.py`: engines that sleep, and vLLM on CPU.

Engines that sleep have the real line to their hosts, real tokens and Ray around them; in the weights' place they wait for a time that the
turn's seed draws, long-tailed. What such a fleet can do at best is then known without measuring: `ceiling` gives each of n slots the next
episode as soon as it is free, and waits for nothing but those times. One at a time and lockstep are computed the same way, at no overhead.
"""

import argparse
import asyncio
import heapq
import json
import math
import os
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.config import (
    AgentConfig,
    BudgetConfig,
    EngineConfig,
    RolloutConfig,
    SamplingConfig,
)
from actors.episode import EpisodeSpec, turn_seed
from actors.routing import Random, Router
from actors.store import EPISODES, read_finished
from actors.trajectory import Trajectory, from_row
from envs.config import ScriptedConfig
from envs.registry import list_tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of a turn, in seconds: lognormal."""

    median_s: float
    sigma: float

    def draw(self, seed: int) -> float:
        return self.median_s * math.exp(self.sigma * random.Random(seed).gauss(0.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepRow:
    in_flight: int
    episodes: int
    turns: int
    ours_turns_s: float
    ceiling_turns_s: float
    ours: float
    """Of the ceiling."""
    lockstep: float
    one_at_a_time: float
    overhead_ms_step: float
    """Of a turn, what its engine did not sleep: world, prompt, tokens, line and Ray, and waiting for a core."""
    bare_call_ms: float
    """The same of one bare call from actor to actor that sleeps as long, with as many in flight: what Ray alone takes."""
    cpu_ms_step: float
    """Of driver, hosts, engines and Ray together, per turn: what stays the same on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmRow:
    in_flight: int
    way: str
    """`ours` and `one_at_a_time` in hosts; the others in the benchmark's own process, which costs the cores less: `sticky`, which routes
    as ours does, `random`, where every call goes to any engine, and `lockstep`."""
    episodes: int
    turns_s: float
    episodes_hour: int
    cache_hit_rate: float | None


def sleeping_engine(latency: Latency) -> Any:
    from actors.wire import Answer
    from benchmarks._stand_in import stand_in_engine

    median_s, sigma = latency.median_s, latency.sigma

    async def answer(request):
        drawn = random.Random(request.sampling.seed).gauss(0.0, 1.0)
        await asyncio.sleep(median_s * math.exp(sigma * drawn))
        return Answer(text="look", token_ids=(1,), cached_tokens=0, finish_reason="stop")

    return stand_in_engine(answer)


def sweep_sleeping(arguments: argparse.Namespace, scratch: Path) -> Iterator[SleepRow]:
    from actors.fleet import Fleet

    latency = Latency(median_s=arguments.latency_s, sigma=arguments.sigma)
    model = EngineConfig(
        model="pocket", device="cpu", replicas=arguments.replicas, max_num_seqs=max(arguments.counts)
    )
    with Fleet(model, engine_kind=sleeping_engine(latency)) as fleet:
        _sleep_through(fleet, model, arguments, 4, 4, scratch / "warm")
        for count in arguments.counts:
            seconds, cpu_s_turn, played = _sleep_through(
                fleet, model, arguments, count, arguments.waves * count, scratch / f"n{count}"
            )
            bare_s = _bare_calls(count, arguments.hosts, latency)
            yield _sleep_row(count, seconds, cpu_s_turn, played, latency, bare_s)


def _sleep_through(
    fleet: Any, model: EngineConfig, arguments: argparse.Namespace, count: int, episodes: int, folder: Path
) -> tuple[float, float, list[Trajectory]]:
    """Seconds from the first turn's start to the last episode's end on disk, seconds of all cores for a turn, and what was played, in
    the order asked for."""
    from actors.job import RolloutSettings
    from actors.rollout import rollout

    env, hosts = ScriptedConfig(num_tasks=min(episodes, 64)), min(arguments.hosts, count)
    tasks = list_tasks(env)
    specs = [
        EpisodeSpec(task=tasks[n % len(tasks)], role="base", arm="base", seed=n // len(tasks))
        for n in range(episodes)
    ]
    ends: list[float] = []
    cpu: list[tuple[float, int]] = []

    def note(progress: Any) -> None:
        ends.append(time.monotonic())
        if progress.ended in (1, progress.total):
            cpu.append((_cpu_s(), progress.turns))

    rollout(
        specs,
        RolloutSettings(
            env=env,
            agent=AgentConfig(prompt="brief"),
            model=model,
            budget=BudgetConfig(
                max_turns=arguments.turns, max_steps=arguments.turns, max_repeats=10_000, turn_timeout_s=600
            ),
            sampling=SamplingConfig(max_tokens=16),
            # All hosts from the start: what is measured is not how quickly they come.
            rollout=RolloutConfig(num_hosts=hosts, min_hosts=hosts, slots_per_host=-(-count // hosts)),
        ),
        folder,
        fleet=fleet,
        progress=note,
    )
    (cpu_before, turns_before), (cpu_after, turns_after) = cpu[0], cpu[-1]
    cpu_s_turn = (cpu_after - cpu_before) / max(1, turns_after - turns_before)
    with (folder / EPISODES).open() as lines:
        first = from_row(json.loads(lines.readline()))
    place = {(spec.task.key, spec.seed): n for n, spec in enumerate(specs)}
    played = sorted(read_finished(folder), key=lambda t: place[t.task.key, t.seed])
    return ends[-1] - ends[0] + sum(turn.seconds for turn in first.turns), cpu_s_turn, played


def _bare_calls(count: int, hosts: int, latency: Latency, calls: int = 4) -> float:
    """Seconds beyond the sleep, the mean of `calls` of each of `count` callers in as many actors as there are hosts."""
    import ray

    class Sleeper:
        async def sleep(self, seconds):
            await asyncio.sleep(seconds)

    class Callers:
        async def call(self, sleeper, drawn):
            async def one(own):
                began = time.monotonic()
                for seconds in own:
                    await sleeper.sleep.remote(seconds)
                return time.monotonic() - began - sum(own)

            return await asyncio.gather(*(one(own) for own in drawn))

    drawn = [[latency.draw(calls * caller + n) for n in range(calls)] for caller in range(count)]
    hosts = min(hosts, count)
    sleeper = ray.remote(Sleeper).options(num_cpus=0, max_concurrency=4096).remote()
    callers = [ray.remote(Callers).options(num_cpus=0).remote() for _ in range(hosts)]
    ray.get([caller.call.remote(sleeper, [[0.0]]) for caller in callers])  # Once, so that all are up.
    parts = ray.get([caller.call.remote(sleeper, drawn[n::hosts]) for n, caller in enumerate(callers)])
    for actor in (sleeper, *callers):
        ray.kill(actor)
    return sum(map(sum, parts)) / (count * calls)


def _cpu_s() -> float:
    """Of this process and all below it, Ray's own included."""
    ticks: dict[int, tuple[int, int]] = {}  # process -> its parent, its ticks
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            ticks[int(stat.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    below, waiting = 0, [os.getpid()]
    while waiting:
        parent = waiting.pop()
        below += ticks[parent][1]
        waiting += [process for process, (above, _) in ticks.items() if above == parent]
    return below / os.sysconf("SC_CLK_TCK")


def _sleep_row(
    count: int,
    seconds: float,
    cpu_s_turn: float,
    played: Sequence[Trajectory],
    latency: Latency,
    bare_s: float,
) -> SleepRow:
    slept = [[latency.draw(turn_seed(t.seed, t.task.key, n)) for n in range(len(t.turns))] for t in played]
    turns = sum(map(len, slept))
    took = sum(turn.seconds for t in played for turn in t.turns)
    ceiling_s = ceiling(slept, count)
    return SleepRow(
        in_flight=count,
        episodes=len(played),
        turns=turns,
        ours_turns_s=round(turns / seconds, 2),
        ceiling_turns_s=round(turns / ceiling_s, 2),
        ours=round(ceiling_s / seconds, 3),
        lockstep=round(ceiling_s / lockstep(slept, count), 3),
        one_at_a_time=round(ceiling_s / sum(map(sum, slept)), 4),
        overhead_ms_step=round(1000 * (took - sum(map(sum, slept))) / turns, 3),
        bare_call_ms=round(1000 * bare_s, 3),
        cpu_ms_step=round(1000 * cpu_s_turn, 3),
    )


def ceiling(episodes: Sequence[Sequence[float]], count: int) -> float:
    """Seconds that `count` slots need, each taking the next episode when it is free."""
    free_at = [0.0] * count
    for turns in episodes:
        heapq.heappush(free_at, heapq.heappop(free_at) + sum(turns))
    return max(free_at)


def lockstep(episodes: Sequence[Sequence[float]], count: int) -> float:
    """Seconds where every turn of a batch waits for the slowest of the batch, and the next batch for the last."""
    total = 0.0
    for first in range(0, len(episodes), count):
        batch = episodes[first : first + count]
        for turn in range(max(map(len, batch))):
            total += max(turns[turn] for turns in batch if turn < len(turns))
    return total


def sweep_vllm(bench: Any, fleet: Any, arguments: argparse.Namespace) -> Iterator[VllmRow]:
    """`bench`: the benchmark's own, which plays."""

    def row(count: int, way: str, seconds: float, played: Sequence[Trajectory]) -> VllmRow:
        prompts = sum(t.prompt_tokens for t in played)
        hits = round(sum(t.cached_tokens for t in played) / prompts, 3) if prompts else None
        turns = sum(len(t.turns) for t in played)
        return VllmRow(
            in_flight=count,
            way=way,
            episodes=len(played),
            turns_s=round(turns / seconds, 2),
            episodes_hour=round(3600 * len(played) / seconds),
            cache_hit_rate=hits,
        )

    bench.warm_up(fleet)
    for count in arguments.counts:
        episodes = max(8, arguments.waves * count)
        way = "one_at_a_time" if count == 1 else "ours"
        yield row(count, way, *bench.ours(fleet, episodes, count))
        if count > 1:
            yield row(count, "sticky", *bench.here(fleet, episodes, count, Router()))
            yield row(
                count, "random", *bench.here(fleet, episodes, count, Router(policy=Random(), sticky=False))
            )
            bench.slots = count
            yield row(count, "lockstep", *bench.lockstep_played(fleet, episodes))


def show(rows: Iterable[SleepRow] | Iterable[VllmRow], *, as_json: bool) -> None:
    """As they come, or as one document."""
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    for number, row in enumerate(rows):
        if not number:
            print("  ".join(f"{name:>16}" for name in asdict(row)))
        print("  ".join(f"{value!s:>16}" for value in asdict(row).values()), flush=True)
