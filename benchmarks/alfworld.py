# ruff: noqa: E402 - the path is set before the project is imported
"""Our ALFWorld engine and the original side by side, in one process and one run: steps, loading, memory.

    python benchmarks/alfworld.py --games data/alfworld --json

Both play the same commands of the same games with admissible commands listed at every step. Time is CPU time of this process, so
that other work on the machine does not count. The original is the patched release through TextWorld (extra `alfworld`).
"""

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# In the place of this folder, where this file would hide the package `alfworld`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from envs.alfworld.env import list_tasks, open_env
from envs.alfworld.game import Game
from envs.alfworld.index import GameIndex, open_index
from envs.alfworld.world import World
from envs.base import TextEnv
from envs.config import AlfworldConfig
from envs.task import Task

DATA = Path(os.environ.get("OFFBOOK_TEST_DATA", Path(sys.path[0]).parent / "shared" / "data"))
REAL_GAMES = DATA / "alfworld" / "valid_unseen.jsonl.xz"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--games",
        type=Path,
        help="a folder of the release or a compact file; default: the real games of the test data, else generated ones",
    )
    parser.add_argument(
        "--original-games",
        type=int,
        default=4,
        help="games that the original loads and plays; default: %(default)s",
    )
    parser.add_argument(
        "--original-steps", type=int, default=40, help="steps of the original in each; default: %(default)s"
    )
    parser.add_argument(
        "--cycles",
        type=int,
        default=10_000,
        help="load-reset-play cycles of the growth test; default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="print JSON only")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as made:
        games = args.games or (REAL_GAMES if REAL_GAMES.is_file() else generated(Path(made)))
        figures = measure(games, args.original_games, args.original_steps, args.cycles)
    if args.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:>28}  {value}")
    return 0


def generated(folder: Path) -> Path:
    """Full-size households for a machine without the real games."""
    from envs.alfworld.generate import generate

    generate(folder, seed=0, games=60, rooms="full")
    return folder


def measure(games: Path, original_games: int, original_steps: int, cycles: int) -> dict[str, Any]:
    index = open_index(str(games))
    tasks = list_tasks(AlfworldConfig(games=str(games)))
    some = tasks[:: max(1, len(tasks) // original_games)][:original_games]
    plans = {task.id: commands(index.game(task.id), original_steps, seed) for seed, task in enumerate(some)}
    # Growth and size first: the original leaves megabytes behind.
    growth_mb = growth(index, tasks, cycles)
    env_kb = size_of_env(games, tasks)
    config = AlfworldConfig(games=str(games), view="original", accept_put=False)
    original = time_original(config, some, plans)
    ours = time_ours(config, index, some, plans)
    return {
        "steps_ratio": round(ours["steps_per_s"] / original["steps_per_s"], 1),
        "load_reset_ratio": round(original["load_reset_ms"] / ours["load_reset_ms"], 1),
        "steps_per_s": round(ours["steps_per_s"]),
        "original_steps_per_s": round(original["steps_per_s"], 1),
        "load_reset_ms": round(ours["load_reset_ms"], 3),
        "original_load_reset_ms": round(original["load_reset_ms"], 1),
        "env_kb": round(env_kb, 1),
        "growth_mb": round(growth_mb, 2),
        "growth_cycles": cycles,
        "games": len(some),
        "original_steps": sum(len(plan) for plan in plans.values()),
        "same_words": original["words"] == ours["words"],
    }


def commands(game: Game, number: int, seed: int) -> list[str]:
    """Random admissible commands; doing something rather than walking, every tenth of them impossible."""
    rng = random.Random(seed)
    world = World(game)
    plan = []
    for _ in range(number):
        doing = [c for c in world.admissible if not c.startswith("go to")]
        command = (
            "xyzzy" if rng.random() < 0.1 else rng.choice(doing if rng.random() < 0.5 else world.admissible)
        )
        world.step(command)
        plan.append(command)
    return plan


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def play(env: TextEnv, plan: list[str], words: list[object] | None = None) -> None:
    for command in plan:
        result = env.step(command)
        if words is not None:
            words.append((result.observation, result.admissible, result.score))


def time_original(config: AlfworldConfig, tasks: list[Task], plans: dict[str, list[str]]) -> dict[str, Any]:
    env = open_env(config.model_copy(update={"backend": "textworld"}))
    env.reset(tasks[-1], seed=0)  # imports and the first translation are not a game's cost
    load_s = step_s = 0.0
    words: list[object] = []
    for task in tasks:
        load_s += cpu_s(lambda task=task: env.reset(task, seed=0))
        step_s += cpu_s(lambda task=task: play(env, plans[task.id], words))
    env.close()
    steps = sum(len(plans[task.id]) for task in tasks)
    return {"load_reset_ms": 1e3 * load_s / len(tasks), "steps_per_s": steps / step_s, "words": words}


def time_ours(
    config: AlfworldConfig, index: GameIndex, tasks: list[Task], plans: dict[str, list[str]]
) -> dict[str, Any]:
    """The same, often enough to be measured; every load reads the game's text again."""
    words: list[object] = []
    env = open_env(config)
    for task in tasks:
        env.reset(task, seed=0)
        play(env, plans[task.id], words)
    rounds = 50

    def load_all() -> None:
        for task in tasks:
            row = index.row(task.id)
            World(Game.from_problem(row.problem, row.task, row.path)).reset()

    load_s = cpu_s(lambda: [load_all() for _ in range(rounds)])
    step_s = 0.0
    for _ in range(rounds):
        for task in tasks:
            env.reset(task, seed=0)
            step_s += cpu_s(lambda task=task: play(env, plans[task.id]))
    steps = rounds * sum(len(plans[task.id]) for task in tasks)
    return {
        "load_reset_ms": 1e3 * load_s / (rounds * len(tasks)),
        "steps_per_s": steps / step_s,
        "words": words,
    }


def growth(index: GameIndex, tasks: list[Task], cycles: int) -> float:
    """MB by which the process grows over load-reset-play cycles, after a first hundred."""
    rng = random.Random(0)
    rows = [index.row(task.id) for task in tasks[:50]]

    def run(number: int) -> None:
        for i in range(number):
            row = rows[i % len(rows)]
            world = World(Game.from_problem(row.problem, row.task, row.path))
            world.reset()
            for _ in range(10):
                world.step(rng.choice(world.admissible))

    run(100)
    before = resident_kb()
    run(cycles)
    return (resident_kb() - before) / 1024


def size_of_env(games: Path, tasks: list[Task]) -> float:
    """kB for each further env that plays a game of its own, its parsed game included."""
    number = 200
    gc.collect()
    index = open_index(str(games))
    rows = [index.row(tasks[i % len(tasks)].id) for i in range(number)]
    before = resident_kb()
    worlds = []
    for row in rows:
        world = World(Game.from_problem(row.problem, row.task, row.path))
        world.step(world.admissible[0])
        worlds.append(world)
    return (resident_kb() - before) / len(worlds)


def resident_kb() -> float:
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4.0


if __name__ == "__main__":
    raise SystemExit(main())
