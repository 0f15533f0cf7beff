"""A rollout over several Ray nodes while its processes are killed and its network is cut, against the same rollout left alone.

    python benchmarks/soak.py                                             # ten faults, a few minutes
    python benchmarks/soak.py --network namespaces --faults 100 --json    # every kind, each node in a network of its own

Engines, hosts, the writer, whole nodes (by their raylet) and the driver get SIGKILL; a node's cable is pulled for `--cut-s` seconds. Who
starts a process again is who does it on a cluster: Ray and Offbook its actors, a supervisor (here: this script) nodes and drivers. Faults
are spread over the episodes by what is on disk. Afterwards each (task, seed) must be there once, and turn for turn what it is without
any of it. Engines are Ray actors with the real line to their hosts; in the weights' place is a rule that sleeps and draws a reply from
the prompt's tokens and the seed, so that a prompt that is wrong anywhere shows in all that follows.
"""

import argparse
import asyncio
import hashlib
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from actors.config import (  # noqa: E402
    AgentConfig,
    BudgetConfig,
    EngineConfig,
    RolloutConfig,
    SamplingConfig,
)
from actors.episode import EpisodeSpec  # noqa: E402
from actors.job import RolloutSettings  # noqa: E402
from actors.store import EPISODES, TRAJECTORIES  # noqa: E402
from actors.trajectory import Trajectory, from_row  # noqa: E402
from benchmarks._ray_nodes import Namespaces, Network, RayNodes  # noqa: E402
from envs.config import ScriptedConfig  # noqa: E402
from envs.registry import list_tasks  # noqa: E402

SHARES = {"engine": 30, "host": 30, "writer": 10, "node": 12, "driver": 10, "cut": 8}
CLASSES = {"engine": "ray::StandInEngine", "host": "ray::EnvHost", "writer": "ray::Writer"}
REPLIES = ("look", "open drawer 1", "go to shelf 2", "take apple 1", "inventory")
STEPS = 12
ENV = ScriptedConfig(num_tasks=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    network: str
    nodes: int
    faults: dict[str, int]
    skipped: dict[str, int]
    """Faults that found no process to hit within a minute."""
    episodes: int
    lost: int
    doubled: int
    different: int
    """From what was played without faults, turn by turn."""
    errors: int
    played_again: int
    """Records in the journal beyond one for each episode; the last one counts."""
    nodes_started_again: int
    drivers_ended_by_themselves: int
    """With an error, other than by a fault; each was started again."""
    longest_silence_s: float
    """Without an episode on disk."""
    quiet_s: float
    disturbed_s: float

    @property
    def sound(self) -> bool:
        return not (self.lost or self.doubled or self.different or self.errors)


def main() -> int:
    arguments = _arguments()
    if arguments.drive:
        drive(arguments)
        return 0
    with tempfile.TemporaryDirectory(prefix="offbook-soak-") as folder:
        result = soak(arguments, Path(folder))
    if arguments.json:
        print(json.dumps(asdict(result), indent=1))
    else:
        print("\n".join(f"{name}: {value}" for name, value in asdict(result).items()))
    return 0 if result.sound else 1


def soak(arguments: argparse.Namespace, folder: Path) -> Result:
    """Both rollouts on one cluster, the quiet one first."""
    count = 1 + arguments.engines + arguments.hosts + arguments.spare
    network: Network = Namespaces(count) if arguments.network == "namespaces" else Network()
    nodes = None
    try:
        nodes = RayNodes(count, network)
        began = time.monotonic()
        with Driver(nodes, arguments, folder / "quiet", latency_s=0.0) as quiet:
            if quiet.wait():
                raise SystemExit(f"the quiet rollout failed:\n{quiet.said}")
        quiet_s = time.monotonic() - began
        trial = Trial(nodes, arguments, folder / "disturbed")
        trial.run()
        return _compare(arguments, folder, trial, quiet_s)
    finally:
        if nodes is not None:
            nodes.close()
        network.close()


class Driver:
    """`rollout` in a process on the head, started as often as it takes."""

    def __init__(
        self, nodes: RayNodes, arguments: argparse.Namespace, out: Path, *, latency_s: float
    ) -> None:
        self._nodes, self.out, self._log = nodes, out, out.with_suffix(".log")
        self._command = [
            *(sys.executable, __file__, "--drive", nodes.address, "--out", str(out)),
            *("--latency-s", str(latency_s), "--seed", str(arguments.seed)),
            *(f"--{name}={getattr(arguments, name)}" for name in ("engines", "hosts", "slots", "episodes")),
        ]
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = self._nodes.on_head(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def poll(self) -> int | None:
        return self._process.poll()

    def wait(self) -> int:
        return self._process.wait()

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@dataclass
class Trial:
    """The disturbed rollout."""

    nodes: RayNodes
    arguments: argparse.Namespace
    out: Path
    done: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failed_drivers: int = 0
    silence_s: float = 0.0
    seconds: float = 0.0

    def run(self) -> None:
        began, rng = time.monotonic(), random.Random(self.arguments.seed)
        faults = plan(self.arguments.faults, rng, cuts=self.arguments.network == "namespaces")
        self._journal, self._seen, self._seen_at = _LineCount(self.out / EPISODES), 0, began
        with Driver(self.nodes, self.arguments, self.out, latency_s=self.arguments.latency_s) as driver:
            for number, kind in enumerate(faults):
                due = self.arguments.episodes * (number + 1) // (len(faults) + 2)
                if not self._until(driver, lambda due=due: self._journal.read() >= due):
                    break
                self._strike(kind, rng, driver)
            while driver.poll() != 0:
                self._tend(driver)
        self.seconds = time.monotonic() - began

    def _strike(self, kind: str, rng: random.Random, driver: Driver) -> None:
        end = time.monotonic() + 60
        # What was killed a moment ago may not be back yet.
        while time.monotonic() < end and driver.poll() is None:
            if what := self._hit(kind, rng, driver):
                self.done[kind] += 1
                _say(f"{self._journal.read()} episodes on disk: {kind} ({what})")
                # Not two at one place at one moment: what comes up again is hit as it does, what is not there cannot be.
                self._until(
                    driver, lambda until=time.monotonic() + self.arguments.gap_s: time.monotonic() > until
                )
                return
            self._tend(driver)
        self.skipped[kind] += 1

    def _hit(self, kind: str, rng: random.Random, driver: Driver) -> str | None:
        """What was hit, if it was there."""
        if kind == "driver":
            driver.kill()
            driver.start()
            return "killed and started again"
        if kind == "cut":
            return self._cut(rng.choice(self.nodes.workers), driver)
        if kind == "node":
            number = rng.choice(self.nodes.workers)
            return _kill(self.nodes.raylet(number), f"raylet of node {number}")
        found = sorted(pid for pid, line in self.nodes.processes() if line.startswith(CLASSES[kind]))
        return _kill(rng.choice(found) if found else None, CLASSES[kind])

    def _cut(self, number: int, driver: Driver) -> str:
        self.nodes.connect(number, on=False)
        try:
            end = time.monotonic() + self.arguments.cut_s
            self._until(driver, lambda: time.monotonic() > end)
        finally:
            self.nodes.connect(number, on=True)
        return f"node {number} for {self.arguments.cut_s:g} s"

    def _until(self, driver: Driver, holds: Any) -> bool:
        """False: the driver has finished."""
        while not holds():
            if driver.poll() == 0:
                return False
            self._tend(driver)
        return True

    def _tend(self, driver: Driver) -> None:
        """What a cluster's supervisors do."""
        for number in self.nodes.mend():
            _say(f"node {number} is back")
        if driver.poll() not in (None, 0):
            self.failed_drivers += 1
            _say(f"the driver ended by itself:\n{driver.said}")
            if self.failed_drivers > 20:
                raise SystemExit("the driver ends by itself again and again")
            driver.start()
        now = time.monotonic()
        if (read := self._journal.read()) > self._seen:
            self._seen, self._seen_at = read, now
        self.silence_s = max(self.silence_s, now - self._seen_at)
        if now - self._seen_at > self.arguments.patience_s:
            raise SystemExit(f"no episode ended for {self.arguments.patience_s:g} s:\n{driver.said}")
        time.sleep(0.2)


def plan(count: int, rng: random.Random, *, cuts: bool) -> list[str]:
    """`count` faults in the kinds' shares, in any order; each kind once at least, where there are enough."""
    shares = {kind: share for kind, share in SHARES.items() if cuts or kind != "cut"}
    exact = {kind: count * share / sum(shares.values()) for kind, share in shares.items()}
    faults = [kind for kind in shares for _ in range(max(1, math.floor(exact[kind])))]
    by_rest = sorted(shares, key=lambda kind: math.floor(exact[kind]) - exact[kind])
    faults += [by_rest[n % len(by_rest)] for n in range(max(0, count - len(faults)))]
    rng.shuffle(faults)
    return faults[:count]


def drive(arguments: argparse.Namespace) -> None:
    """The driver's process."""
    import logging

    import ray

    from actors.fleet import Fleet
    from actors.rollout import rollout

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    ray.init(address=arguments.drive, log_to_driver=False)
    asked = settings(arguments)
    with Fleet(asked.model, asked.rollout, engine_kind=rule_engine(arguments.latency_s)) as fleet:
        rollout(specs(arguments), asked, arguments.out, fleet=fleet)


def settings(arguments: argparse.Namespace) -> RolloutSettings:
    return RolloutSettings(
        env=ENV,
        agent=AgentConfig(prompt="brief"),
        model=EngineConfig(model="pocket", device="cpu", replicas=arguments.engines),
        budget=BudgetConfig(max_steps=STEPS, max_repeats=STEPS, turn_timeout_s=30),
        sampling=SamplingConfig(temperature=1.0, max_tokens=8),
        rollout=RolloutConfig(num_hosts=arguments.hosts, slots_per_host=arguments.slots, flush_every_s=0.2),
    )


def specs(arguments: argparse.Namespace) -> list[EpisodeSpec]:
    tasks = list_tasks(ENV)
    return [
        EpisodeSpec(task=tasks[n % len(tasks)], role="base", arm="base", seed=n // len(tasks))
        for n in range(arguments.episodes)
    ]


def rule_engine(median_s: float) -> Any:
    """Sleeps long-tailed times of that median."""
    from actors.wire import Answer
    from benchmarks._stand_in import stand_in_engine

    replies = REPLIES

    async def answer(request):
        drawn = hashlib.sha256(repr((request.prompt_ids, request.sampling.seed)).encode()).digest()
        if median_s:
            await asyncio.sleep(median_s * math.exp(random.Random(drawn).gauss(0.0, 1.0)))
        text = replies[drawn[0] % len(replies)]
        return Answer(text=text, token_ids=(drawn[0],), cached_tokens=0, finish_reason="stop")

    return stand_in_engine(answer)


class _LineCount:
    """Whole lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._lines = path, 0, 0

    def read(self) -> int:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._at)
            text = file.read()
            self._at, self._lines = self._at + len(text), self._lines + text.count(b"\n")
        return self._lines


def _compare(arguments: argparse.Namespace, folder: Path, trial: Trial, quiet_s: float) -> Result:
    found = _finished(trial.out)
    quiet, disturbed = dict(_turns(_finished(folder / "quiet"))), dict(_turns(found))
    times = Counter((t.task.key, t.seed) for t in found)
    wanted = {(spec.task.key, spec.seed) for spec in specs(arguments)}
    for t in found:
        if t.end == "error":
            _say(f"{t.task.key}, seed {t.seed}, was given up after {t.retries} retries: {t.error}")
    return Result(
        network=arguments.network,
        nodes=len(trial.nodes.restarts),
        faults=dict(trial.done),
        skipped=dict(trial.skipped),
        episodes=len(wanted),
        lost=len(wanted - disturbed.keys()),
        doubled=sum(count - 1 for count in times.values()),
        different=sum(disturbed[key] != quiet[key] for key in disturbed),
        errors=sum(t.end == "error" for t in found),
        played_again=_LineCount(trial.out / EPISODES).read() - len(times),
        nodes_started_again=sum(trial.nodes.restarts),
        drivers_ended_by_themselves=trial.failed_drivers,
        longest_silence_s=round(trial.silence_s, 1),
        quiet_s=round(quiet_s, 1),
        disturbed_s=round(trial.seconds, 1),
    )


def _finished(folder: Path) -> list[Trajectory]:
    """What a reader of the finished rollout gets."""
    return [from_row(row) for row in pq.read_table(folder / TRAJECTORIES).to_pylist()]


def _turns(trajectories: Iterable[Trajectory]) -> Iterator[tuple[tuple[str, int], Any]]:
    """By task and seed: all that a repetition must repeat."""
    for t in trajectories:
        turns = tuple((turn.reply, turn.action, turn.observation, turn.reward) for turn in t.turns)
        yield (t.task.key, t.seed), (t.id, t.end, t.success, t.score, turns)


def _kill(pid: int | None, what: str) -> str | None:
    if pid is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return f"{what}, pid {pid}"
    return None


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=("loopback", "namespaces"), default="loopback")
    parser.add_argument("--faults", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--spare", type=int, default=1, help="nodes beyond one for each engine and host")
    parser.add_argument("--slots", type=int, default=8, help="episodes in flight in one host")
    parser.add_argument("--latency-s", type=float, default=0.2, help="median of a turn; long-tailed, sigma 1")
    parser.add_argument("--gap-s", type=float, default=3.0, help="from one fault to the next at least")
    parser.add_argument("--cut-s", type=float, default=30.0, help="how long a cable is out")
    parser.add_argument("--patience-s", type=float, default=600.0, help="without an ended episode: given up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--drive", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
