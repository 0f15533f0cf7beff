"""Rollouts against their alternatives on one machine: one episode at a time, lockstep batches, and the engine alone.

    python benchmarks/rollout.py                      # the pocket model and 135M parameters
    python benchmarks/rollout.py --models pocket --episodes 200 --json
    python benchmarks/rollout.py --sweep sleeping     # 1 to 512 episodes in flight, engines that sleep long-tailed times
    python benchmarks/rollout.py --sweep vllm --replicas 2 --models pocket

`utilisation`: our turns a second over those of the engine alone, which is given the same prompts, recorded from our rollout, with as
many in flight and a cold cache, and has neither worlds nor Ray calls around it. `vs_serial`, `vs_lockstep`: episodes per hour of ours
over the other's. The 135M-parameter model has SmolLM2-135M's dimensions and random weights: right for speed, wrong for play.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from actors.agents import make_agent  # noqa: E402
from actors.chat import Completion, Generate, Message, Sampling  # noqa: E402
from actors.config import AgentConfig, BudgetConfig, EngineConfig, RolloutConfig, SamplingConfig  # noqa: E402
from actors.episode import EpisodeSpec, run_episode  # noqa: E402
from actors.models import model_bytes, resolve_model  # noqa: E402
from actors.store import EPISODES, read_finished  # noqa: E402
from actors.trajectory import Trajectory, from_row  # noqa: E402
from envs.config import AlfworldConfig  # noqa: E402
from envs.registry import list_tasks, open_env  # noqa: E402

GENERATED = {"seed": 1, "train": 200, "test": 50}
LARGE_BYTES = 200 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    model: str
    random_weights: bool
    episodes: int
    turns: int
    ours_turns_s: float
    engine_alone_turns_s: float
    ours_episodes_hour: float
    serial_episodes_hour: float
    lockstep_episodes_hour: float
    utilisation: float
    vs_lockstep: float
    vs_serial: float
    cache_hit_rate: float
    mean_prompt_tokens: float
    mean_reply_tokens: float


def main() -> None:
    arguments = _arguments()
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import ray

    num_cpus = 2 + arguments.hosts + arguments.replicas
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False)
    try:
        if arguments.sweep:
            return _sweep(arguments)
        with tempfile.TemporaryDirectory(prefix="offbook-benchmark-") as scratch:
            results = [_measure(name, arguments, Path(scratch)) for name in arguments.models]
    finally:
        ray.shutdown()
    if arguments.json:
        first = asdict(results[0])
        names = ("utilisation", "vs_lockstep", "vs_serial", "cache_hit_rate")
        head = {name: first[name] for name in names}
        print(json.dumps(head | {"cores": os.cpu_count(), "models": [asdict(r) for r in results]}, indent=1))
        return
    for result in results:
        print("\n".join(f"{name:24} {value}" for name, value in asdict(result).items()), end="\n\n")


def _sweep(arguments: argparse.Namespace) -> None:
    from benchmarks import _concurrency

    with tempfile.TemporaryDirectory(prefix="offbook-benchmark-") as scratch:
        rows = _sweep_vllm if arguments.sweep == "vllm" else _concurrency.sweep_sleeping
        _concurrency.show(rows(arguments, Path(scratch)), as_json=arguments.json)


def _sweep_vllm(arguments: argparse.Namespace, scratch: Path) -> Iterator:
    from actors.fleet import Fleet
    from benchmarks import _concurrency

    folder, _ = _checkpoint(arguments.models[0], scratch)
    model = EngineConfig(
        model=folder,
        max_num_seqs=-(-max(arguments.counts) // arguments.replicas),
        kv_cache_gb=arguments.kv_cache_gb,
        max_model_len=arguments.context,
        replicas=arguments.replicas,
        min_replicas=arguments.replicas,
    )
    bench = _Bench(model, arguments, scratch / "sweep", max(arguments.counts))
    with Fleet(model) as fleet:
        yield from _concurrency.sweep_vllm(bench, fleet, arguments)


def _measure(name: str, arguments: argparse.Namespace, scratch: Path) -> Result:
    from actors.fleet import Fleet

    folder, is_random = _checkpoint(name, scratch)
    # A turn of a large model costs a hundred of the pocket model's: fewer episodes measure it as well.
    episodes = (
        arguments.episodes if model_bytes(resolve_model(folder)) < LARGE_BYTES else arguments.episodes // 6
    )
    slots = min(arguments.slots, max(1, episodes // 3))
    model = EngineConfig(
        model=folder, max_num_seqs=slots, kv_cache_gb=arguments.kv_cache_gb, max_model_len=arguments.context
    )
    bench = _Bench(model, arguments, scratch / name.replace("/", "_"), slots)
    with Fleet(model, engine_kind=_replay_engine()) as fleet:
        bench.warm_up(fleet)
        ours_s, trajectories = bench.ours(fleet, episodes, slots)
        alone_s = bench.alone(fleet, trajectories)
        few = max(2, episodes // 16)
        serial_s, _ = bench.ours(fleet, few, 1)
        lockstep_s = bench.lockstep(fleet, episodes)
    turns = sum(len(t.turns) for t in trajectories)
    prompt = sum(t.prompt_tokens for t in trajectories)
    hourly = 3600 * episodes
    return Result(
        model=name,
        random_weights=is_random,
        episodes=episodes,
        turns=turns,
        ours_turns_s=round(turns / ours_s, 2),
        engine_alone_turns_s=round(turns / alone_s, 2),
        ours_episodes_hour=round(hourly / ours_s),
        serial_episodes_hour=round(3600 * few / serial_s),
        lockstep_episodes_hour=round(hourly / lockstep_s),
        utilisation=round(alone_s / ours_s, 3),
        vs_lockstep=round(lockstep_s / ours_s, 2),
        vs_serial=round(serial_s / few / (ours_s / episodes), 2),
        cache_hit_rate=round(sum(t.cached_tokens for t in trajectories) / prompt, 3),
        mean_prompt_tokens=round(prompt / turns, 1),
        mean_reply_tokens=round(sum(t.completion_tokens for t in trajectories) / turns, 1),
    )


class _Bench:
    def __init__(self, model: EngineConfig, arguments: argparse.Namespace, scratch: Path, slots: int) -> None:
        self.model, self.scratch, self.slots = model, scratch, slots
        self.agent = AgentConfig(prompt=arguments.prompt)
        self.env = AlfworldConfig(games=str(_games(arguments, scratch)))
        self.budget = BudgetConfig(max_turns=arguments.turns, max_steps=arguments.turns, turn_timeout_s=600)
        self.sampling = SamplingConfig(max_tokens=16)
        self.tasks = list_tasks(self.env)
        self.runs = 0

    def specs(self, episodes: int) -> list[EpisodeSpec]:
        tasks = self.tasks
        return [
            EpisodeSpec(task=tasks[n % len(tasks)], role="base", arm="base", seed=n // len(tasks))
            for n in range(episodes)
        ]

    def warm_up(self, fleet) -> None:
        self.ours(fleet, 4, 4)

    def ours(self, fleet, episodes: int, slots: int) -> tuple[float, list[Trajectory]]:
        """Seconds from the first turn's start to the last episode's end on disk, and what was played."""
        from actors.rollout import RolloutSettings, rollout

        self._cold(fleet)
        self.runs += 1
        folder = self.scratch / f"run{self.runs}"
        ends: list[float] = []
        rollout(
            self.specs(episodes),
            RolloutSettings(
                env=self.env,
                agent=self.agent,
                model=self.model,
                budget=self.budget,
                sampling=self.sampling,
                rollout=RolloutConfig(slots_per_host=slots),
            ),
            folder,
            fleet=fleet,
            progress=lambda state: ends.append(time.monotonic()),
        )
        # The host's process is started once per rollout and not per episode: time runs from the first turn. The file is in the order
        # in which episodes ended.
        with (folder / EPISODES).open() as lines:
            first = from_row(json.loads(lines.readline()))
        return ends[-1] - ends[0] + sum(turn.seconds for turn in first.turns), read_finished(folder)

    def alone(self, fleet, trajectories: Sequence[Trajectory]) -> float:
        """Seconds that the engine takes for the prompts of these episodes, each after the one before."""
        import ray

        self._cold(fleet)
        agent = make_agent(self.agent, self.env.name)
        chats = [
            [agent.render(t.task, t.opening, t.turns[:n], t.hints) for n in range(len(t.turns))]
            for t in trajectories
        ]
        [engine] = fleet.engines.values()
        return ray.get(engine.replay.remote(chats, self._sampling(agent), self.slots))

    def lockstep(self, fleet, episodes: int) -> float:
        """Seconds when every turn of a batch waits for the slowest of the batch, and the next batch for the last."""
        return self.lockstep_played(fleet, episodes)[0]

    def lockstep_played(self, fleet, episodes: int) -> tuple[float, list[Trajectory]]:
        self._cold(fleet)
        return asyncio.run(self._batches(fleet, self.specs(episodes)))

    def here(self, fleet, episodes: int, slots: int, router) -> tuple[float, list[Trajectory]]:
        """Seconds, and what was played in this process, by a router other than ours."""
        self._cold(fleet)
        return asyncio.run(self._play_here(fleet, self.specs(episodes), slots, router))

    async def _play_here(
        self, fleet, specs: Sequence[EpisodeSpec], slots: int, router
    ) -> tuple[float, list[Trajectory]]:
        client = await self._connect(fleet, router)
        agent, free = make_agent(self.agent, self.env.name), asyncio.Semaphore(slots)

        async def one(spec: EpisodeSpec) -> Trajectory:
            async with free:
                return await self._play(agent, client.generate_for(None), spec)

        began = time.monotonic()
        played = await asyncio.gather(*(one(spec) for spec in specs))
        return time.monotonic() - began, played

    async def _batches(self, fleet, specs: Sequence[EpisodeSpec]) -> tuple[float, list[Trajectory]]:
        # The same way to the engine as ours: only the order of the turns differs.
        client, played = await self._connect(fleet), []
        began = time.monotonic()
        for first in range(0, len(specs), self.slots):
            played += await self._batch(client.generate_for(None), specs[first : first + self.slots])
        return time.monotonic() - began, played

    async def _batch(self, generate: Generate, specs: Sequence[EpisodeSpec]) -> list[Trajectory]:
        agent, barrier = make_agent(self.agent, self.env.name), _Barrier(generate, len(specs))

        async def one(spec: EpisodeSpec) -> Trajectory:
            try:
                return await self._play(agent, barrier, spec)
            finally:
                barrier.leave()

        return await asyncio.gather(*(one(spec) for spec in specs))

    async def _play(self, agent, generate: Generate, spec: EpisodeSpec) -> Trajectory:
        sampling = self._sampling(agent)
        return await run_episode(open_env(self.env), agent, generate, spec, self.budget, sampling, "m")

    async def _connect(self, fleet, router=None):
        from actors.engine_client import EngineClient
        from actors.env_host import EngineActorPort

        ports = {name: EngineActorPort(engine) for name, engine in fleet.engines.items()}
        return await EngineClient.connect(ports, router)

    def _sampling(self, agent) -> Sampling:
        return Sampling(max_tokens=self.sampling.max_tokens, stop=agent.stop)

    def _cold(self, fleet) -> None:
        import ray

        ray.get([engine.reset_cache.remote() for engine in fleet.engines.values()])


class _Barrier(Generate):
    """Calls wait until every living episode has called; then the batch goes out, and all wait for its last answer."""

    def __init__(self, generate: Generate, living: int) -> None:
        self.generate, self.living, self.waiting = generate, living, []

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((messages, sampling, session, future))
        self._go_when_complete()
        return await future

    def leave(self) -> None:
        self.living -= 1
        self._go_when_complete()

    def _go_when_complete(self) -> None:
        if self.waiting and len(self.waiting) == self.living:
            batch, self.waiting = self.waiting, []
            self.task = asyncio.create_task(self._answer(batch))

    async def _answer(self, batch) -> None:
        answers = await asyncio.gather(*(self.generate(m, s, session=name) for m, s, name, _ in batch))
        for (*_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)


def _replay_engine():
    """An engine that can be given recorded chats without anybody around it."""
    from actors.engine import Engine
    from actors.vllm_backend import sampling_params

    class ReplayEngine(Engine):
        async def replay(self, chats, sampling: Sampling, in_flight: int) -> float:
            prompts = [[self.render(chat) for chat in episode] for episode in chats]
            params = sampling_params(sampling, self._codec.stop_ids(sampling.stop))
            slots = asyncio.Semaphore(in_flight)

            async def one(episode) -> None:
                async with slots:
                    for prompt in episode:
                        await self._backend.generate(prompt, params, None)

            began = time.monotonic()
            await asyncio.gather(*(one(episode) for episode in prompts))
            return time.monotonic() - began

    return ReplayEngine


def _checkpoint(name: str, scratch: Path) -> tuple[str, bool]:
    """A folder to serve, and whether its weights are random."""
    from tiny_model import build_tiny_model

    shapes = {
        "random-3m": {
            "hidden": 256,
            "layers": 4,
            "heads": 4,
            "kv_heads": 2,
            "intermediate": 704,
            "vocab": 1350,
        },
        "random-135m": {
            "hidden": 576,
            "layers": 30,
            "heads": 9,
            "kv_heads": 3,
            "intermediate": 1536,
            "vocab": 49152,
        },
    }
    if name not in shapes:
        return name, False
    return str(build_tiny_model(scratch / name, **shapes[name])), True


def _games(arguments: argparse.Namespace, scratch: Path) -> Path:
    if arguments.games:
        return arguments.games
    from envs.alfworld.generate import generate_splits

    folder = scratch / "games"
    generate_splits(folder, **GENERATED)
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["pocket", "random-135m"], metavar="NAME")
    parser.add_argument("--episodes", type=int, default=192)
    parser.add_argument("--turns", type=int, default=12, help="most turns of an episode")
    parser.add_argument("--slots", type=int, default=64, help="episodes in flight")
    parser.add_argument("--kv-cache-gb", type=float, default=1.0)
    parser.add_argument("--prompt", default="brief", help="the agent's instructions: brief, or full")
    parser.add_argument(
        "--context", type=int, default=1024, help="tokens that a prompt and its reply may have"
    )
    parser.add_argument("--games", type=Path, help="ALFWorld games; without it households are generated")
    sweep = parser.add_argument_group("the sweep over episodes in flight")
    sweep.add_argument("--sweep", choices=["sleeping", "vllm"])
    sweep.add_argument(
        "--counts", type=int, nargs="+", default=[2**n for n in range(10)], help="episodes in flight"
    )
    sweep.add_argument("--waves", type=int, default=3, help="episodes to a slot")
    sweep.add_argument("--hosts", type=int, default=2)
    sweep.add_argument("--replicas", type=int, default=1)
    sweep.add_argument("--latency-s", type=float, default=1.0, help="median of a turn, of engines that sleep")
    sweep.add_argument("--sigma", type=float, default=1.0, help="of its logarithm")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
