# ruff: noqa: E402 - the path is set before the project is imported
"""The dataset stage on made-up episodes: rows a second, and the memory of the driver and of Ray's workers.

    python benchmarks/dataset.py --episodes 5000 --episodes 20000 --json

Half of the episodes are won with two hints, half are lost. Memory is what a process holds for itself (`RssAnon`), sampled while the stage
runs; Ray's object store is counted apart. Each number of episodes runs in a process and on a Ray of its own.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# In the place of this folder, where a neighbour would hide the package `alfworld`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import pyarrow as pa
import pyarrow.parquet as pq

from actors.config import AgentConfig
from actors.models import resolve_model
from actors.store import TRAJECTORIES
from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, GivenHint, Trajectory, Turn, to_row
from envs.task import Task

HINTS = (
    "Open every closed {container} before you search for the {object} elsewhere.",
    "Carry the {object} to the {receptacle} as soon as you hold it.",
)
THINGS = "apple knife mug plate bowl pan lettuce potato tomato egg fork spoon book pen pillow vase".split()
PLACES = (
    "fridge cabinet drawer shelf countertop sinkbasin microwave diningtable garbagecan stoveburner".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    episodes: int
    rows: int
    tokens: int
    rewritten: int
    """Rows that leaked, of those planted."""
    input_mb: float
    """Of the Parquet file."""
    raw_mb: float
    """Of the same without compression."""
    seconds: float
    rows_per_s: float
    driver_mb: float
    """Most that the driver held, beyond what it held before the stage."""
    worker_mb: float
    """Most that one worker held."""
    store_mb: float
    """Most of Ray's object store that the driver had mapped."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, action="append", help="may be given again; default: 2000")
    parser.add_argument("--turns", type=int, default=24, help="of an episode; default: %(default)s")
    parser.add_argument(
        "--leak-every",
        type=int,
        default=0,
        help="one row in so many says what a hint said and is rewritten; default: none",
    )
    parser.add_argument(
        "--model", default="pocket", help="whose tokenizer and chat template; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    sizes = args.episodes or [2000]
    if args.here:
        print(json.dumps(asdict(measure(sizes[0], args.turns, args.model, args.leak_every))))
        return 0
    runs = [_in_a_process_of_its_own(size, args) for size in sizes]
    report: dict[str, object] = {"runs": runs}
    if len(runs) > 1:
        first, last = runs[0], runs[-1]
        more = (last["episodes"] - first["episodes"]) / 1000
        report["mb_per_1000_episodes"] = {
            name: round((last[name] - first[name]) / more, 2)
            for name in ("driver_mb", "worker_mb", "store_mb")
        }
    print(json.dumps(report, indent=1) if args.json else _text(report))
    return 0


def measure(episodes: int, turns: int, model: str, leak_every: int = 0) -> Measured:
    from distill.cluster import ray_cluster
    from distill.dataset import build_dataset
    from distill.dataset_card import verify_card

    with tempfile.TemporaryDirectory(prefix="offbook-dataset-") as scratch:
        file = Path(scratch) / TRAJECTORIES
        _write(file, episodes, turns, leak_every)
        groups = [
            pq.ParquetFile(file).metadata.row_group(n) for n in range(pq.ParquetFile(file).num_row_groups)
        ]
        with ray_cluster(2), Memory() as memory:
            began = time.monotonic()
            summary = build_dataset(
                [file],
                agent=AgentConfig(),
                env_name="alfworld",
                model_path=str(resolve_model(model)),
                arm="distill",
                out_dir=Path(scratch) / "out",
                on_leak="rewrite" if leak_every else "fail",
            )
            audit = verify_card(Path(scratch) / "out")["leak_audit"]
            seconds = time.monotonic() - began
        return Measured(
            episodes=episodes,
            rows=summary.num_rows,
            tokens=summary.num_tokens,
            rewritten=audit["rows_rewritten"],
            input_mb=round(file.stat().st_size / 1e6, 1),
            raw_mb=round(sum(group.total_byte_size for group in groups) / 1e6, 1),
            seconds=round(seconds, 1),
            rows_per_s=round(summary.num_rows / seconds, 1),
            driver_mb=round(memory.driver_mb, 1),
            worker_mb=round(memory.worker_mb, 1),
            store_mb=round(memory.store_mb, 1),
        )


class Memory:
    """Samples this process and Ray's workers while the block runs."""

    def __init__(self, every_s: float = 0.1) -> None:
        self.driver_mb = self.worker_mb = self.store_mb = 0.0
        self._every_s, self._over = every_s, threading.Event()
        self._before = _status("self")["RssAnon"]
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(self._every_s):
            own = _status("self")
            self.driver_mb = max(self.driver_mb, own["RssAnon"] - self._before)
            self.store_mb = max(self.store_mb, own["RssShmem"])
            for worker in _workers():
                self.worker_mb = max(self.worker_mb, worker)


def _status(pid: str) -> dict[str, float]:
    """Megabytes by name."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) / 1e3 for line in lines if line.startswith("Rss")}


def _workers() -> Iterator[float]:
    """What each worker of this process's own Ray holds."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It ended meanwhile.
            parents[process.name] = (process / "stat").read_text().rpartition(")")[2].split()[1]
    for pid in parents:
        with suppress(OSError, KeyError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::") and _is_ours(pid, parents):
                yield _status(pid)["RssAnon"]


def _is_ours(pid: str, parents: dict[str, str]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == str(os.getpid()):
            return True
    return False


def _write(file: Path, episodes: int, turns: int, leak_every: int) -> None:
    rng = random.Random(0)
    with pq.ParquetWriter(file, TRAJECTORY_SCHEMA) as writer:
        for first in range(0, episodes, 500):
            made = [
                (number, _trajectory(rng, number, turns))
                for number in range(first, min(first + 500, episodes))
            ]
            rows = [
                to_row(_leaking(trajectory) if leak_every and number % leak_every == 0 else trajectory)
                for number, trajectory in made
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=TRAJECTORY_SCHEMA))


def _trajectory(rng: random.Random, number: int, turns: int) -> Trajectory:
    won = number % 2 == 0
    thing = rng.choice(THINGS)
    rooms = ", ".join(f"a {rng.choice(PLACES)} {n}" for n in range(1, 15))
    return Trajectory(
        task=Task(
            env="alfworld",
            split="train",
            id=f"train/game-{number:07d}",
            kind="pick_and_place_simple",
            goal=f"put some {thing} on {rng.choice(PLACES)}.",
        ),
        role="teacher",
        arm="teacher",
        agent="react",
        model="m",
        adapter=None,
        seed=0,
        hints=tuple(GivenHint(id=f"h{n}", text=text) for n, text in enumerate(HINTS)),
        opening=f"You are in the middle of a room. Looking quickly around you, you see {rooms}.",
        turns=tuple(_turn(rng, n, thing) for n in range(turns)),
        end=EndReason.DONE if won else EndReason.STEP_LIMIT,
        success=won,
        score=float(won),
    )


def _leaking(trajectory: Trajectory) -> Trajectory:
    thought = f"I look around. {HINTS[0].format(container='drawer', object='mug')}"
    turn = Turn(reply=f"think: {thought}", fields=(("thought", thought),), action=None, observation="OK.")
    return replace(trajectory, turns=(turn, *trajectory.turns))


def _turn(rng: random.Random, number: int, thing: str) -> Turn:
    place = f"{rng.choice(PLACES)} {rng.randint(1, 9)}"
    if number % 3 == 0:
        thought = f"I have not seen the {thing} yet; the {place} is near, so I look there next."
        return Turn(reply=f"think: {thought}", fields=(("thought", thought),), action=None, observation="OK.")
    seen = ", ".join(f"a {rng.choice(THINGS)} {rng.randint(1, 9)}" for _ in range(6))
    return Turn(
        reply=f"go to {place}",
        action=f"go to {place}",
        observation=f"You arrive at {place}. On the {place}, you see {seen}.",
    )


def _in_a_process_of_its_own(size: int, args: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--here", "--episodes", str(size), "--turns", str(args.turns)]
    command += ["--leak-every", str(args.leak_every), "--model", args.model]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _text(report: dict[str, object]) -> str:
    runs = report["runs"]
    assert isinstance(runs, list)
    lines = ["  ".join(f"{name} {value}" for name, value in run.items()) for run in runs]
    if "mb_per_1000_episodes" in report:
        lines.append(f"MB for each 1000 episodes more: {report['mb_per_1000_episodes']}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
