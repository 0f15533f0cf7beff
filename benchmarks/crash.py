"""Kill a study with SIGKILL at random moments, start it again each time, and compare every episode with an unbroken run.

Whole process groups are killed, so that Ray, engines, hosts and trainers die with the driver, as when a machine loses power.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from actors.trajectory import from_row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--shortest-s", type=float, default=12.0, help="life of the shortest attempt")
    parser.add_argument("--longest-s", type=float, default=60.0, help="life of the longest attempt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="offbook-crash-") as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result, indent=1) if args.json else "\n".join(f"{k}: {v}" for k, v in result.items()))
    return 0 if result["different"] == 0 and result["missing"] == 0 else 1


def measure(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    rng = random.Random(args.seed)
    command = [sys.executable, "-m", "distill.cli", "run", args.study, "--out"]
    options = [word for override in args.overrides for word in ("--set", override)]
    began = time.monotonic()
    subprocess.run([*command, str(folder / "whole"), *options], check=True, stdout=subprocess.DEVNULL)
    unbroken_s = time.monotonic() - began
    began, kills, lives = time.monotonic(), 0, []
    while kills < args.kills:
        life = rng.uniform(args.shortest_s, args.longest_s)
        lives.append(round(life, 1))
        if not killed_after(life, [*command, str(folder / "broken"), *options]):
            break  # It finished: the kills that are left would hit nothing.
        kills += 1
    subprocess.run([*command, str(folder / "broken"), *options], check=True, stdout=subprocess.DEVNULL)
    broken_s = time.monotonic() - began
    whole, broken = episodes(folder / "whole"), episodes(folder / "broken")
    different = [key for key in whole.keys() & broken.keys() if whole[key] != broken[key]]
    return {
        "kills": kills,
        "lives_s": lives,
        "episodes": len(whole),
        "missing": len(whole.keys() ^ broken.keys()),
        "different": len(different),
        "outcomes_different": sum(whole[key][-1] != broken[key][-1] for key in different),
        "unbroken_s": round(unbroken_s, 1),
        "broken_s": round(broken_s, 1),
    }


def killed_after(life_s: float, command: list[str]) -> bool:
    """Run in a group of its own and kill the group; False if it ended before."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(life_s)
        return False
    except subprocess.TimeoutExpired:
        kill_tree(process.pid)
        process.wait()
        return True


def kill_tree(pid: int) -> None:
    """Ray starts sessions of its own, so the group is not enough: every descendant is killed."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(status.parent.name))
    doomed = [pid]
    for parent in doomed:
        doomed.extend(children.get(parent, []))
    for one in doomed:
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def episodes(out: Path) -> dict[str, tuple]:
    """By id, what a second run must repeat; the last field is the outcome."""
    found = {}
    for path in out.glob("store/rollout-*/trajectories.parquet"):
        for row in pq.read_table(path).to_pylist():
            t = from_row(row)
            turns = tuple((turn.reply, turn.action, turn.observation) for turn in t.turns)
            # An adapter's stage names it, the bits of its weights do not: ids agree between the runs.
            found[t.id] = (t.task.key, t.seed, t.hints, turns, (t.end, t.success, t.score))
    return found


if __name__ == "__main__":
    sys.exit(main())
