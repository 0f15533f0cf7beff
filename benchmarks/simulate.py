"""A fleet far larger than this machine, on simulated time: the routing, admission and retry code of real runs among simple engines.

    python benchmarks/simulate.py                                    # 1,000 engines, 100,000 episodes in flight
    python benchmarks/simulate.py --engines 100 --in-flight 5000 --routing random --json

An engine reads new tokens of prompts one call after the other, draws replies of all its calls at once, keeps what it read until its KV
cache is full, and drops the longest unused first. Lengths of episodes and replies are lognormal. Engines die and come back empty. What is
real is the time that decisions take: it is measured, and weighed against the pace at which the simulated fleet asks for them.

`utilisation` is of the time from the first quarter of ended episodes to the last start; `first_bottleneck` is the part nearest to its limit.
"""

import argparse
import heapq
import itertools
import json
import random
import sys
import time
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from actors.admission import ROOM_SHARE, Admission, Growth
from actors.config import RolloutConfig
from actors.retry import Again, RetryPolicy
from actors.routing import LeastLoaded, Random, Router


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Tokens and seconds; the defaults are of a 7B model on a GPU of 80 GB, as orders of magnitude."""

    engines: int = 1000
    in_flight: int = 100_000
    """Episodes that hosts have slots for."""
    episodes: int = 200_000
    routing: str = "least_loaded"
    """`least_loaded`, or `random`: any engine at every call."""
    admission: str = "kv"
    """`kv`, or `none`: as many as there are slots."""
    kv_tokens: int = 1_000_000
    first_guess_tokens: int = 8_000
    """What an episode is taken to need until some have ended."""
    room_share: float = ROOM_SHARE
    """Of what an episode comes to, what must be free for it to begin."""
    prefill_tokens_s: float = 20_000
    decode_tokens_s: float = 10_000
    """All replies of an engine together."""
    decode_tokens_s_each: float = 60
    most_calls: int = 256
    """That an engine runs at a time."""
    shared_tokens: int = 1000
    """The beginning that all prompts share."""
    observation_tokens: int = 80
    reply_tokens: int = 60
    turns: float = 15
    """The median; lengths are lognormal."""
    turns_sigma: float = 0.6
    most_turns: int = 50
    deaths_hour: float = 1.0
    """Of one engine."""
    away_s: float = 120
    hosts: int = 1000
    host_ms_turn: float = 2.0
    """World, prompt and overhead of a turn in its host's one process."""
    driver_ms_episode: float = 0.5
    """Of sending an episode and hearing of its end, beside the decisions."""
    writer_mb_s: float = 200
    episode_kb: float = 40
    pulse_s: float = 5
    seed: int = 0


class Episode:
    __slots__ = (
        "attempt",
        "begun_at",
        "engine",
        "lost",
        "number",
        "owed_at",
        "ready_at",
        "tokens",
        "turn",
        "turns",
    )

    def __init__(self, number: int, turns: int) -> None:
        self.number, self.turns = number, turns
        self.attempt = self.lost = self.turn = self.tokens = 0
        self.owed_at = self.begun_at = self.ready_at = 0.0
        self.engine: str | None = None


class Engine:
    __slots__ = (
        "boot", "decode", "drawn_at", "held", "idle", "idle_tokens", "is_up", "name", "next_at", "prefill_free_at", "prefilling",
        "running", "running_tokens", "virtual", "waiting",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name, self.boot = name, 0
        self.reset()

    def reset(self) -> None:
        self.is_up = True
        self.idle: OrderedDict[int, int] = OrderedDict()  # episode -> tokens, the longest unused first
        self.idle_tokens = self.running_tokens = self.prefilling = self.held = 0
        self.running: dict[int, tuple[Episode, int]] = {}
        self.waiting: deque[tuple[Episode, int]] = deque()
        self.decode: list[
            tuple[float, int, Episode]
        ] = []  # by the tokens each had to see drawn since the start
        self.virtual = self.drawn_at = self.prefill_free_at = 0.0
        self.next_at = float("inf")


class Simulation:
    def __init__(self, settings: Settings) -> None:
        self.s, self.rng = settings, random.Random(settings.seed)
        policy = Random(settings.seed) if settings.routing == "random" else LeastLoaded()
        self.router = Router(policy=policy, sticky=settings.routing != "random")
        cap = -(-settings.in_flight // settings.engines)
        self.admission = Admission(self.router, cap=cap * (1 if settings.admission == "kv" else 1000))
        self.growth = Growth(settings.first_guess_tokens, share=settings.room_share)
        rollout = RolloutConfig()
        self.retry = RetryPolicy(max_retries=rollout.max_retries, max_outages=rollout.max_outages)
        self.engines = {f"engine {n}": Engine(f"engine {n}") for n in range(settings.engines)}
        for name in self.engines:
            self.admission.add(name, settings.kv_tokens if settings.admission == "kv" else None)
        self.now, self.events, self.order = 0.0, [], itertools.count()
        self.host_free_at, self.driver_free_at = [0.0] * settings.hosts, 0.0
        self.owed = deque(Episode(n, self._turns()) for n in range(settings.episodes))
        self.in_flight = self.ended = self.errors = self.retries = self.deaths = 0
        self.sums = dict.fromkeys(
            "prefill_s drawn_tokens prompt_tokens cached_tokens turns host_s kv in_flight call_wait_s admission_wait_s begun".split(),
            0.0,
        )
        self.most_in_flight, self.last_at = 0, 0.0
        self.decisions, self.decision_s = 0, 0.0
        self.call_waits: list[float] = []
        self.snapshots: list[tuple[float, dict[str, float], int, float]] = []

    def run(self) -> dict[str, Any]:
        began = time.perf_counter()
        for engine in self.engines.values():
            self._schedule_death(engine)
        self._at(self.s.pulse_s, self._pulse)
        self._begin_what_fits()
        while self.ended < self.s.episodes:
            at, _, do, arguments = heapq.heappop(self.events)
            self.now = at
            do(*arguments)
        return self._result(time.perf_counter() - began)

    # Decisions: the code of real runs, with its own time taken.

    def _begin_what_fits(self) -> None:
        while self.owed and self.in_flight < self.s.in_flight:
            episode = self.owed[0]
            began = time.perf_counter()
            engine = self.admission.admit(
                f"{episode.number}.{episode.attempt}", self.growth.room, episode.engine
            )
            self._decided(began)
            if engine is None:
                return
            self.owed.popleft()
            self._begin(episode, engine)
        if not self.owed and len(self.snapshots) == 1:
            self._snapshot()

    def _route(self, episode: Episode) -> str:
        if self.s.routing != "random":
            assert episode.engine is not None
            return episode.engine
        began = time.perf_counter()
        engine = self.router.engine_for(f"{episode.number}.{episode.attempt}")
        self._decided(began)
        return engine

    def _decided(self, began: float) -> None:
        self.decisions += 1
        self.decision_s += time.perf_counter() - began

    # An episode's life.

    def _begin(self, episode: Episode, engine: str) -> None:
        self._advance_sums()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.sums["begun"] += 1
        self.sums["admission_wait_s"] += self.now - episode.owed_at
        episode.begun_at, episode.engine, episode.turn = self.now, engine, 0
        episode.tokens = self.s.observation_tokens
        # The driver is one process: it hands out one episode after the other.
        self.driver_free_at = max(self.now, self.driver_free_at) + self.s.driver_ms_episode / 1000
        self._at(self.driver_free_at, self._arrive, episode, episode.attempt)

    def _arrive(self, episode: Episode, attempt: int) -> None:
        if episode.attempt == attempt:
            self._step_world(episode)

    def _step_world(self, episode: Episode) -> None:
        """In its host, whose one process does one thing after the other; then the next call."""
        host, takes_s = episode.number % self.s.hosts, self.s.host_ms_turn / 1000
        done_at = self.host_free_at[host] = max(self.now, self.host_free_at[host]) + takes_s
        self.sums["host_s"] += takes_s
        self._at(done_at, self._call, episode, episode.attempt)

    def _call(self, episode: Episode, attempt: int) -> None:
        if episode.attempt != attempt:
            return
        name = self._route(episode)
        engine = self.engines[name]
        episode.engine, episode.ready_at = name, self.now
        if not engine.is_up:
            self._lose(episode)
            return
        reply = max(1, int(self.rng.lognormvariate(0.0, 0.8) * self.s.reply_tokens * 0.73))
        engine.waiting.append((episode, reply))
        self._admit_calls(engine)

    def _finish_turn(self, engine: Engine, episode: Episode) -> None:
        _, reply = engine.running.pop(episode.number)
        grown = episode.tokens + reply
        engine.running_tokens -= grown
        engine.idle[episode.number] = grown
        engine.idle_tokens += grown
        episode.tokens = grown + self.s.observation_tokens
        episode.turn += 1
        self.sums["turns"] += 1
        self.sums["drawn_tokens"] += reply
        if episode.turn >= episode.turns:
            self._end(episode, grown)
        else:
            self._step_world(episode)

    def _end(self, episode: Episode, tokens: int) -> None:
        self._leave(episode)
        self.growth.note_ended(tokens + self.s.shared_tokens)
        self._count_ended()

    def _count_ended(self) -> None:
        self.ended += 1
        if self.ended == self.s.episodes // 4:
            self._snapshot()
        self._begin_what_fits()

    def _lose(self, episode: Episode) -> None:
        self._leave(episode)
        episode.attempt += 1
        episode.lost += 1
        began = time.perf_counter()
        decision = self.retry.decide(lost=episode.lost, outages=episode.lost, retryable=True)
        self._decided(began)
        if isinstance(decision, Again):
            self.retries += 1
            self._at(self.now + decision.delay_s, self._owe, episode)
        else:
            self.errors += 1
            self._count_ended()

    def _owe(self, episode: Episode) -> None:
        episode.owed_at = self.now
        self.owed.appendleft(episode)
        self._begin_what_fits()

    def _leave(self, episode: Episode) -> None:
        self._advance_sums()
        self.in_flight -= 1
        began = time.perf_counter()
        self.admission.end(f"{episode.number}.{episode.attempt}")
        self._decided(began)

    # An engine's work.

    def _admit_calls(self, engine: Engine) -> None:
        """In their order, while there are sequences and room in the cache."""
        s = self.s
        while engine.waiting and len(engine.running) < s.most_calls:
            episode, reply = engine.waiting[0]
            size = episode.tokens + reply
            cached = engine.idle.get(episode.number, 0)
            if engine.running and engine.running_tokens + size > s.kv_tokens - s.shared_tokens:
                return
            engine.waiting.popleft()
            if cached:
                engine.idle_tokens -= engine.idle.pop(episode.number)
            engine.running[episode.number] = (episode, reply)
            engine.running_tokens += size
            while engine.idle and engine.idle_tokens + engine.running_tokens > s.kv_tokens - s.shared_tokens:
                engine.idle_tokens -= engine.idle.popitem(last=False)[1]
            self._read_prompt(engine, episode, cached)

    def _read_prompt(self, engine: Engine, episode: Episode, cached: int) -> None:
        takes_s = (episode.tokens - cached) / self.s.prefill_tokens_s
        sums = self.sums
        sums["prefill_s"] += takes_s
        sums["prompt_tokens"] += self.s.shared_tokens + episode.tokens
        sums["cached_tokens"] += self.s.shared_tokens + cached
        engine.prefill_free_at = max(self.now, engine.prefill_free_at) + takes_s
        wait_s = engine.prefill_free_at - episode.ready_at
        sums["call_wait_s"] += wait_s
        if episode.number % 16 == 0:
            self.call_waits.append(wait_s)
        self._at(engine.prefill_free_at, self._draw, engine, engine.boot, episode)

    def _draw(self, engine: Engine, boot: int, episode: Episode) -> None:
        if engine.boot != boot:
            return
        self._advance(engine)
        _, reply = engine.running[episode.number]
        heapq.heappush(engine.decode, (engine.virtual + reply, episode.number, episode))
        if engine.decode[0][2] is episode:
            self._look_at_next(engine)

    def _drawn(self, engine: Engine, boot: int, at: float) -> None:
        """The next reply is whole, or it was to be before others slowed it down."""
        if engine.boot != boot or at != engine.next_at:
            return
        self._advance(engine)
        while engine.decode and engine.decode[0][0] <= engine.virtual + 1e-6:
            self._finish_turn(engine, heapq.heappop(engine.decode)[2])
        self._admit_calls(engine)
        self._look_at_next(engine)

    def _look_at_next(self, engine: Engine) -> None:
        engine.next_at = float("inf")
        if engine.decode:
            left = max(0.0, engine.decode[0][0] - engine.virtual)
            engine.next_at = self.now + left / self._pace(engine)
            self._at(engine.next_at, self._drawn, engine, engine.boot, engine.next_at)

    def _advance(self, engine: Engine) -> None:
        if engine.decode:
            engine.virtual += (self.now - engine.drawn_at) * self._pace(engine)
        engine.drawn_at = self.now

    def _pace(self, engine: Engine) -> float:
        """Tokens a second of each reply."""
        return min(self.s.decode_tokens_s_each, self.s.decode_tokens_s / len(engine.decode))

    def _die(self, engine: Engine) -> None:
        self.deaths += 1
        lost = [episode for episode, _ in (*engine.running.values(), *engine.waiting)]
        engine.boot += 1
        engine.reset()
        engine.is_up = False
        self.router.mark_dead(engine.name)
        for episode in lost:
            self._lose(episode)
        self._at(self.now + self.s.away_s, self._return, engine)

    def _return(self, engine: Engine) -> None:
        engine.is_up = True
        self.router.mark_alive(engine.name)
        self._schedule_death(engine)
        self._begin_what_fits()

    def _schedule_death(self, engine: Engine) -> None:
        if self.s.deaths_hour:
            self._at(self.now + self.rng.expovariate(self.s.deaths_hour / 3600), self._die, engine)

    # Time and sums.

    def _pulse(self) -> None:
        """What hosts tell of their sessions' tokens."""
        # Of the cache, what living sessions hold is at most what they were let in for; the rest is left over from ended ones.
        held = {
            engine.name: engine.running_tokens + min(engine.idle_tokens, self.router.load(engine.name))
            for engine in self.engines.values()
        }
        running = sum(held.values())
        if self.s.admission == "kv":
            began = time.perf_counter()
            for name, tokens in held.items():
                self.admission.note_held(name, min(tokens, self.router.load(name)))
            self.decision_s += time.perf_counter() - began
            self.growth.running_tokens = running
        self.sums["kv"] += running / (len(held) * self.s.kv_tokens) * self.s.pulse_s
        self._begin_what_fits()
        self._at(self.now + self.s.pulse_s, self._pulse)

    def _at(self, at: float, do: Any, *arguments: Any) -> None:
        heapq.heappush(self.events, (at, next(self.order), do, arguments))

    def _advance_sums(self) -> None:
        self.sums["in_flight"] += self.in_flight * (self.now - self.last_at)
        self.last_at = self.now

    def _snapshot(self) -> None:
        self._advance_sums()
        self.snapshots.append((self.now, dict(self.sums), self.decisions, self.decision_s))

    def _turns(self) -> int:
        return min(
            self.s.most_turns, max(1, round(self.rng.lognormvariate(0.0, self.s.turns_sigma) * self.s.turns))
        )

    def _result(self, real_s: float) -> dict[str, Any]:
        while len(self.snapshots) < 2:
            self._snapshot()
        (from_s, before, decisions, took_s), (to_s, after, decisions_then, took_s_then) = self.snapshots
        span_s = max(to_s - from_s, 1e-9)
        of = {name: (after[name] - before[name]) / span_s for name in after}
        per_decision_s = (took_s_then - took_s) / max(1, decisions_then - decisions)
        decisions_s = (decisions_then - decisions) / span_s
        s = self.s
        utilisation = {
            "decisions": decisions_s * per_decision_s,
            "driver": of["begun"] * s.driver_ms_episode / 1000,
            "kv": of["kv"],
            "prefill": of["prefill_s"] / s.engines,
            "decode": of["drawn_tokens"] / (s.engines * s.decode_tokens_s),
            "hosts": of["host_s"] / s.hosts,
            "writer": of["begun"] * s.episode_kb / 1024 / s.writer_mb_s,
        }
        waits = sorted(self.call_waits) or [0.0]
        return {
            "first_bottleneck": max(utilisation, key=lambda name: utilisation[name]),
            "utilisation": {name: round(value, 4) for name, value in utilisation.items()},
            "simulated_s": round(self.now, 1),
            "real_s": round(real_s, 1),
            "episodes": s.episodes,
            "errors": self.errors,
            "retries": self.retries,
            "engine_deaths": self.deaths,
            "most_in_flight": self.most_in_flight,
            "mean_in_flight": round(of["in_flight"]),
            "slots_taken": round(of["in_flight"] / s.in_flight, 4),
            "turns_s": round(of["turns"], 1),
            "tokens_per_episode_learnt": self.growth.tokens,
            "cache_hit_rate": round(of["cached_tokens"] / max(of["prompt_tokens"], 1e-9), 4),
            "admission_wait_s": round(self.sums["admission_wait_s"] / max(1.0, self.sums["begun"]), 2),
            "call_wait_s": {
                "mean": round(self.sums["call_wait_s"] / max(1.0, self.sums["turns"]), 3),
                "p50": round(waits[len(waits) // 2], 3),
                "p99": round(waits[int(len(waits) * 0.99)], 3),
            },
            "decisions_s_asked": round(decisions_s, 1),
            "decisions_s_possible": round(1 / per_decision_s) if per_decision_s else None,
            "settings": asdict(s),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field in fields(Settings):
        default: Any = field.default
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--json", action="store_true")
    arguments = vars(parser.parse_args())
    as_json = arguments.pop("json")
    result = Simulation(Settings(**arguments)).run()
    if as_json:
        print(json.dumps(result, indent=1))
        return
    for name, value in result.items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
