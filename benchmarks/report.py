# ruff: noqa: E402 - the path is set before the project is imported
"""The trajectory browser of a large study: how long it takes to write, to open in Chromium, to filter, and how large it is.

    python benchmarks/report.py --episodes 100000 --json

Synthetic episodes of two dozen turns in six arms; times in the page are its own (milliseconds since navigation, and of one filter).
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

# In the place of this folder.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import pyarrow as pa
import pyarrow.parquet as pq

from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, GivenHint, Trajectory, Turn, to_row
from distill.report.episodes import write_browser
from envs.task import Task

ARMS = ("base", "teacher", "baseline", "distill", "teacher_random", "best_of_2")
SEEDS = 3
THINGS = ("apple", "mug", "lettuce", "pen", "watch", "soapbar", "vase", "kettle")
PLACES = ("fridge", "cabinet", "shelf", "drawer", "desk", "safe", "cart", "stove")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--tries", type=int, default=5, help="times that the page is opened")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="offbook-report-") as folder:
        result = measure(args.episodes, args.tries, Path(folder))
    print(json.dumps(result, indent=1) if args.json else "\n".join(f"{k}: {v}" for k, v in result.items()))
    return 0


def measure(num_episodes: int, tries: int, folder: Path) -> dict[str, object]:
    arms = {arm: [_write_arm(arm, num_episodes // len(ARMS), folder)] for arm in ARMS}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    page = write_browser(arms, folder / "report", title="benchmark")
    result: dict[str, object] = {
        "episodes": num_episodes // len(ARMS) * len(ARMS),
        "write_s": round(time.monotonic() - began, 1),
        "grown_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1),
        "size_mb": round(sum(f.stat().st_size for f in (folder / "report").rglob("*.*")) / 1e6, 1),
        "index_mb": round((folder / "report/episodes/index.js").stat().st_size / 1e6, 2),
    }
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        return result | {"browser": "no Chromium here"}
    for name, fragment in (
        ("open", ""),
        ("filter", "#words=mug&arm.base=l&arm.distill=w"),
        ("read", "#open=alfworld/task-00000&at=1"),
    ):
        marks = [_marks(chromium, page, fragment) for _ in range(tries)]
        key = {"open": "ready", "filter": "filter", "read": "open"}[name]
        times = sorted(float(mark[key]) for mark in marks)
        result[f"{name}_ms"] = {"median": times[len(times) // 2], "worst": times[-1]}
    return result


def _marks(chromium: str, page: Path, fragment: str) -> dict[str, str]:
    """The page's own times, asked for over the browser's debugging socket once all of them are there (real time, not the virtual one
    of `--dump-dom`)."""
    import websockets.sync.client

    wanted = {"ready", "filter"} | ({"open"} if "open=" in fragment else set())
    with tempfile.TemporaryDirectory(prefix="offbook-chromium-") as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command = [chromium, *options, f"--user-data-dir={profile}", f"file://{page}{fragment}"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            target = _wait(lambda: _page_socket(Path(profile)))
            with websockets.sync.client.connect(target, max_size=None) as socket:
                return _wait(lambda: _read_marks(socket, wanted))
        finally:
            browser.terminate()
            browser.wait(20)


def _read_marks(socket: Any, wanted: set[str]) -> dict[str, str] | None:
    asked = {"expression": "document.body ? JSON.stringify(document.body.dataset) : '{}'"}
    socket.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": asked}))
    told = json.loads(json.loads(socket.recv(20))["result"]["result"]["value"])
    marks = {name.removesuffix("Ms"): value for name, value in told.items() if name.endswith("Ms")}
    return marks if wanted <= marks.keys() else None


def _page_socket(profile: Path) -> str | None:
    port = profile / "DevToolsActivePort"
    if not port.is_file() or not port.read_text().strip():
        return None
    with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json", timeout=20) as reply:
        pages = [target for target in json.load(reply) if target["type"] == "page"]
    return pages[0]["webSocketDebuggerUrl"] if pages else None


def _wait(look: Callable[[], Any], seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > until:
            raise TimeoutError(f"Chromium did not get so far in {seconds:g} s")
        time.sleep(0.02)
    return found


def _write_arm(arm: str, num_episodes: int, folder: Path) -> Path:
    path = folder / f"{arm}.parquet"
    with pq.ParquetWriter(path, TRAJECTORY_SCHEMA) as writer:
        for start in range(0, num_episodes, 2000):
            rows = [to_row(_episode(arm, i)) for i in range(start, min(start + 2000, num_episodes))]
            writer.write_table(pa.Table.from_pylist(rows, schema=TRAJECTORY_SCHEMA))
    return path


def _episode(arm: str, number: int) -> Trajectory:
    rng = random.Random(f"{arm}-{number}")
    thing, place = rng.choice(THINGS), rng.choice(PLACES)
    task = Task(
        env="alfworld",
        split="test",
        id=f"task-{number // SEEDS:05d}",
        kind=f"kind {number // SEEDS % 6}",
        goal=f"put some {THINGS[number // SEEDS % 8]} on {PLACES[number // SEEDS % 7]}.",
    )
    won = rng.random() < 0.5
    turns = tuple(
        Turn(
            reply=f"go to {place} {turn}",
            action=f"go to {rng.choice(PLACES)} {turn}",
            observation=f"On the {place} {turn}, you see a {thing} {turn}, a {rng.choice(THINGS)} 1, and a {rng.choice(THINGS)} 2.",
            valid=rng.random() < 0.9,
        )
        for turn in range(rng.randint(4, 44))
    )
    return Trajectory(
        task=task,
        role="base",
        arm=arm,
        agent="react",
        model="synthetic",
        adapter=None,
        seed=number % SEEDS,
        hints=(GivenHint(id="h", text=f"Look into each {{place}} before you search for the {thing}."),)
        if arm.startswith("teacher")
        else (),
        opening="You are in the middle of a room. " + ", ".join(f"a {p} 1" for p in PLACES),
        turns=turns,
        end=EndReason.DONE if won else EndReason.STEP_LIMIT,
        success=won,
        score=float(won),
    )


if __name__ == "__main__":
    raise SystemExit(main())
