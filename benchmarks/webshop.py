# ruff: noqa: E402 - the path is set before the project is imported
"""WebShop's cost: steps, searches, opening and memory on a catalogue, by default of the 1,000 real products.

    python benchmarks/webshop.py --json
    python benchmarks/webshop.py --products 1180000 --json      # builds a shop of that size first

Times are CPU time of this process, so that other work on the machine does not count; `*_wall_*` figures are on the clock.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# In the place of this folder.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from envs.config import WebshopConfig
from envs.registry import list_tasks, open_env
from envs.webshop.catalogue import Catalogue

DATA = Path(os.environ.get("OFFBOOK_TEST_DATA", Path(sys.path[0]).parent / "shared" / "data"))
REAL = DATA / "webshop"
_ENVS_OF_MEMBER = 8
ORIGINAL_STEPS_PER_S = 43
"""Of the original in `text` mode, as recorded with Lucene on one core, resets included."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogue", type=Path, help="a built catalogue (default: build one)")
    parser.add_argument(
        "--products", type=int, help="make up a shop of this size instead of the real 1,000 products"
    )
    parser.add_argument("--episodes", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--searches", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--growth-episodes", type=int, default=1000, help="default: %(default)s")
    parser.add_argument(
        "--processes",
        type=int,
        default=0,
        help="share the catalogue among so many processes of eight envs each and show their memory",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="offbook-bench-") as scratch:
        figures: dict[str, Any] = {}
        folder = args.catalogue
        if folder is None:
            folder = Path(scratch) / "shop"
            figures |= build(folder, args.products)
        figures |= measure(folder, args)
        if args.processes:
            figures |= shared(folder, args.processes)
    print(json.dumps(figures, indent=1) if args.json else "\n".join(f"{k}: {v}" for k, v in figures.items()))
    return 0


def build(folder: Path, products: int | None) -> dict[str, Any]:
    """In a process of its own, whose peak memory is the build's."""
    where = f"from pathlib import Path; out = Path({str(folder)!r})\n"
    if products:
        call = f"from envs.webshop.generate import generate; generate(out, products={products}, goals=12000, seed=1)\n"
    else:
        call = (
            f"from envs.webshop.build import build_from_files; build_from_files(Path({str(REAL)!r}), out)\n"
        )
    program = where + call + "import resource as r; print(r.getrusage(r.RUSAGE_SELF).ru_maxrss)"
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=sys.path[0], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "build_wall_s": round(time.perf_counter() - start, 1),
        "build_cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "build_peak_mb": round(int(done.stdout.split()[-1]) / 1024),
        "catalogue_mb": round(sum(path.stat().st_size for path in folder.iterdir()) / 2**20, 1),
    }


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    rng = random.Random(args.seed)
    start = time.perf_counter()
    shop = Catalogue(folder)
    open_wall_s = time.perf_counter() - start
    kind = "synthetic" if shop.manifest["goals"]["synthetic"]["count"] > 1000 else "human"
    config = WebshopConfig(catalogue=str(folder), goals=kind, view="text")
    searches = search_times(shop, args.searches, rng)
    plans = [plan(config, task, rng) for task in rng.choices(list_tasks(config), k=args.episodes)]
    steps = sum(len(actions) + 1 for _, actions in plans)
    env = open_env(config)
    seconds = cpu_s(lambda: [play(env, task, actions) for task, actions in plans])
    rich = open_env(config.model_copy(update={"view": "text_rich"}))
    rich_seconds = cpu_s(lambda: [play(rich, task, actions) for task, actions in plans])
    growth_mb = growth(env, plans, args.growth_episodes)
    env_kb = size_of_env(config, plans)
    return {
        "products": shop.num_products,
        "steps_per_s": round(steps / seconds),
        "steps_ratio": round(steps / seconds / ORIGINAL_STEPS_PER_S, 1),
        "text_rich_steps_per_s": round(steps / rich_seconds),
        "search_p50_ms": round(searches[len(searches) // 2] * 1e3, 3),
        "search_p99_ms": round(searches[int(len(searches) * 0.99)] * 1e3, 3),
        "open_wall_s": round(open_wall_s, 4),
        "rss_mb": round(status_mb("VmRSS"), 1),
        "private_mb": round(private_mb(), 1),
        "env_kb": round(env_kb, 1),
        "growth_mb": round(growth_mb, 2),
        "growth_episodes": args.growth_episodes,
        "episodes": args.episodes,
        "steps": steps,
    }


def shared(folder: Path, processes: int) -> dict[str, Any]:
    """Memory of processes that play on one catalogue at the same time; PSS splits what they share."""
    players = [
        subprocess.Popen(
            [sys.executable, __file__, "--member", str(folder), "--seed", str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    # All of them have played before the first is asked, and none leaves before the last has answered.
    for player in players:
        assert player.stdout is not None and player.stdout.readline() == "ready\n"
    answers = []
    for player in players:
        assert player.stdin is not None and player.stdout is not None
        print("measure", file=player.stdin, flush=True)
        answers.append(json.loads(player.stdout.readline()))
    for player in players:
        player.communicate()
    return {
        "processes": processes,
        "envs": processes * _ENVS_OF_MEMBER,
        "sum_pss_mb": round(sum(answer["pss_mb"] for answer in answers), 1),
        "sum_rss_mb": round(sum(answer["rss_mb"] for answer in answers), 1),
        "mean_private_mb": round(sum(answer["private_mb"] for answer in answers) / processes, 1),
    }


def member(folder: Path, seed: int) -> None:
    """One of the processes of `shared`."""
    shop = Catalogue(folder)
    kind = "human" if shop.manifest["goals"]["human"]["count"] > 1000 else "synthetic"
    config = WebshopConfig(catalogue=str(folder), goals=kind)
    rng = random.Random(seed)
    envs = [open_env(config) for _ in range(_ENVS_OF_MEMBER)]
    for env, task in zip(envs, rng.sample(list_tasks(config), len(envs)), strict=True):
        play(env, task, plan(config, task, rng)[1][:6])
    print("ready", flush=True)
    sys.stdin.readline()
    print(
        json.dumps({"pss_mb": rollup_mb("Pss"), "rss_mb": status_mb("VmRSS"), "private_mb": private_mb()}),
        flush=True,
    )
    sys.stdin.readline()


def search_times(shop: Catalogue, number: int, rng: random.Random) -> list[float]:
    """Seconds of CPU for each of `number` queries made of a title's words, none of them asked twice."""
    ask = shop.searcher.documents
    found = []
    for product in rng.choices(range(shop.num_products), k=number):
        title = shop.card(product)[1].split()
        query = " ".join(rng.sample(title, min(len(title), rng.randint(2, 8))))
        start = time.process_time()
        ask(query, 50)
        found.append(time.process_time() - start)
    return sorted(found)


def plan(config: WebshopConfig, task: Any, rng: random.Random) -> tuple[Any, list[str]]:
    """A shopper who searches, looks around, opens something, reads, chooses and buys."""
    env = open_env(config)
    result = env.reset(task, seed=0)
    words = task.goal.split()
    actions = [f"search[{' '.join(rng.sample(words, min(len(words), 6)))}]"]
    result = env.step(actions[0])
    while not result.done and len(actions) < 15:
        names = [a for a in result.admissible if a != "click[back to search]"]
        buy = "click[buy now]" in names and len(actions) > 8
        actions.append("click[buy now]" if buy else rng.choice(names or ["click[back to search]"]))
        result = env.step(actions[-1])
    return task, actions


def play(env: Any, task: Any, actions: Sequence[str]) -> None:
    env.reset(task, seed=0)
    for action in actions:
        env.step(action)


def growth(env: Any, plans: list[tuple[Any, list[str]]], episodes: int) -> float:
    """MB by which the process grows over so many episodes."""
    before = status_mb("VmRSS")
    for number in range(episodes):
        play(env, *plans[number % len(plans)])
    return status_mb("VmRSS") - before


def size_of_env(config: WebshopConfig, plans: list[tuple[Any, list[str]]]) -> float:
    """kB for each further env in the middle of an episode."""
    number = 200
    before = private_mb()
    envs = []
    for i in range(number):
        env = open_env(config)
        play(env, plans[i % len(plans)][0], plans[i % len(plans)][1][:3])
        envs.append(env)
    return 1024 * (private_mb() - before) / len(envs)


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024


def private_mb() -> float:
    """What no other process shares: the mapped catalogue is not in it."""
    return rollup_mb("Private_Dirty")


def rollup_mb(name: str) -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--member"]:
        member(Path(sys.argv[2]), int(sys.argv[4]))
    else:
        raise SystemExit(main())
