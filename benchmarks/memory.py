"""The driver's memory through a long rollout: it must stay flat, however many episodes there are.

    python benchmarks/memory.py                               # 5,000 episodes, about a minute
    python benchmarks/memory.py --episodes 100000 --json
    python benchmarks/memory.py --ray --hosts 2               # hosts and writer in processes of their own

The scripted world and model play with a drawn latency a turn. Sampled is RssAnon of the driver's process, which without Ray is the host
and the writer as well. `flat`: after the warm-up, the first tenth of the episodes, it never grew by more than `--limit-mb`, the end of
the rollout, its sorted file and its totals included. Episodes are made when they are asked for, as a caller with very many does it.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from actors.chat import Completion, Message, Sampling  # noqa: E402
from actors.config import (  # noqa: E402
    AgentConfig,
    BudgetConfig,
    RolloutConfig,
    SamplingConfig,
    ScriptedModelConfig,
)
from actors.driver import Progress  # noqa: E402
from actors.episode import EpisodeSpec  # noqa: E402
from actors.job import RolloutSettings, RolloutSummary  # noqa: E402
from actors.player import OneModel  # noqa: E402
from actors.scripted import ScriptedModel  # noqa: E402
from envs.config import ScriptedConfig  # noqa: E402
from envs.registry import list_tasks  # noqa: E402
from envs.task import Task  # noqa: E402

NUM_TASKS = 1000
WARM_UP = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    episodes: int
    ray: bool
    seconds: float
    episodes_s: float
    turns: int
    start_mb: float
    warm_mb: float
    peak_mb: float
    """From the warm-up on, with what finishing takes."""
    grown_mb: float
    limit_mb: float
    flat: bool
    rollout_s: float
    finish_s: float
    samples_mb: list[tuple[int, float]]
    """(episodes ended, RssAnon)."""


class Specs(Sequence[EpisodeSpec]):
    """Some tasks under as many seeds as it takes; none is kept."""

    def __init__(self, tasks: Sequence[Task], number: int) -> None:
        self._tasks, self._number = tasks, number

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, position: int) -> EpisodeSpec:  # type: ignore[override]
        if not 0 <= position < self._number:
            raise IndexError(position)
        seed, task = divmod(position, len(self._tasks))
        return EpisodeSpec(task=self._tasks[task], role="base", arm="base", seed=seed)


class Delayed:
    """The scripted model after a drawn wait: most answers come soon, few late."""

    def __init__(self, config: ScriptedModelConfig, mean_s: float) -> None:
        self._model, self._mean_s = ScriptedModel(config), mean_s

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        await asyncio.sleep(random.Random(sampling.seed).expovariate(1 / self._mean_s))
        return await self._model(messages, sampling, session=session)


@dataclass(slots=True)
class Meter:
    """Samples the process's memory beside the rollout, in a thread: a sample that waited its turn would miss a peak."""

    every_s: float
    samples: list[tuple[int, float]] = field(default_factory=list)
    ended: int = 0
    ended_at: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def note(self, state: Progress) -> None:
        self.ended, self.ended_at = state.ended, time.monotonic()

    def __enter__(self) -> "Meter":
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.every_s):
            self.samples.append((self.ended, rss_anon_mb()))
        self.samples.append((self.ended, rss_anon_mb()))


def rss_anon_mb() -> float:
    """Of this process: what it allocated, without files that it maps."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    arguments = _arguments()
    result = measure(arguments)
    if arguments.json:
        print(json.dumps(asdict(result), indent=1))
    else:
        shown = {name: value for name, value in asdict(result).items() if name != "samples_mb"}
        print("\n".join(f"{name:12} {value}" for name, value in shown.items()))
    sys.exit(0 if result.flat else 1)


def measure(arguments: argparse.Namespace) -> Result:
    start_mb, began = rss_anon_mb(), time.monotonic()
    meter = Meter(every_s=arguments.every_s)
    with tempfile.TemporaryDirectory(prefix="offbook-memory-") as scratch, meter:
        summary = _play(arguments, Path(scratch), meter)
    ended = time.monotonic()
    warm = [mb for done, mb in meter.samples if done >= WARM_UP * arguments.episodes] or [rss_anon_mb()]
    grown = max(warm) - warm[0]
    return Result(
        episodes=summary.episodes,
        ray=arguments.ray,
        seconds=round(ended - began, 1),
        episodes_s=round(summary.episodes / (ended - began), 1),
        turns=summary.turns,
        start_mb=round(start_mb, 1),
        warm_mb=round(warm[0], 1),
        peak_mb=round(max(warm), 1),
        grown_mb=round(grown, 1),
        limit_mb=arguments.limit_mb,
        flat=grown <= arguments.limit_mb,
        rollout_s=round(meter.ended_at - began, 1),
        finish_s=round(ended - meter.ended_at, 1),
        samples_mb=_thinned(meter.samples, arguments.samples),
    )


def _play(arguments: argparse.Namespace, folder: Path, meter: Meter) -> RolloutSummary:
    env = ScriptedConfig(num_tasks=NUM_TASKS)
    model = ScriptedModelConfig(skill=0.7, latency_s=arguments.latency_s if arguments.ray else 0.0)
    settings = RolloutSettings(
        env=env,
        agent=AgentConfig(prompt="brief"),
        model=model,
        budget=BudgetConfig(max_steps=arguments.max_steps),
        sampling=SamplingConfig(),
        rollout=RolloutConfig(num_hosts=arguments.hosts, slots_per_host=arguments.slots),
    )
    specs = Specs(list_tasks(env), arguments.episodes)
    from actors.rollout import rollout, rollout_local

    if not arguments.ray:
        models = OneModel(Delayed(model, arguments.latency_s))
        return rollout_local(specs, settings, folder, models=models, progress=meter.note)
    import ray

    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")
    ray.init(address="local", num_cpus=arguments.hosts + 1, include_dashboard=False, log_to_driver=False)
    try:
        return rollout(specs, settings, folder, progress=meter.note)
    finally:
        ray.shutdown()


def _thinned(samples: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    step = max(1, len(samples) // most)
    return [(done, round(mb, 1)) for done, mb in [*samples[::step], samples[-1]]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=5000)
    parser.add_argument("--latency-s", type=float, default=0.01, help="mean of a model call")
    parser.add_argument("--max-steps", type=int, default=15)
    parser.add_argument("--slots", type=int, default=64, help="episodes in flight in a host")
    parser.add_argument("--ray", action="store_true", help="hosts and writer as Ray actors")
    parser.add_argument("--hosts", type=int, default=1, help="with --ray")
    parser.add_argument("--limit-mb", type=float, default=100.0)
    parser.add_argument("--every-s", type=float, default=0.2, help="between samples")
    parser.add_argument("--samples", type=int, default=60, help="at most so many in the output")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
