"""Killing processes of a rollout, and what must be the same afterwards."""

import os
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq

from actors.store import TRAJECTORIES, read_finished
from actors.trajectory import from_row


def played(folder):
    """What a replay must reproduce: all but the clock and the retries."""
    return _without_clock(read_finished(folder))


def played_at(place):
    """The same of a finished folder elsewhere."""
    with pq.ParquetFile(place.open_file(TRAJECTORIES)) as file:
        return _without_clock(map(from_row, file.read().to_pylist()))


def _without_clock(trajectories):
    return [
        (t.id, t.task.key, t.seed, t.end, t.success, [(turn.reply, turn.observation) for turn in t.turns])
        for t in trajectories
    ]


class Killer:
    """Sends SIGKILL to one actor process of a class each time another tenth of the episodes has ended."""

    def __init__(self, class_name, times):
        self.class_name, self.times, self.killed = class_name, times, []

    def note(self, state):
        if len(self.killed) < self.times and state.ended >= state.total * (len(self.killed) + 1) // 10:
            pid = actor_pid(self.class_name, self.killed)
            self.killed.append(pid)
            os.kill(pid, signal.SIGKILL)


def actor_pid(class_name, not_these, timeout_s=60):
    """A process of this test's own workers that runs an actor of the class: Ray names it `ray::Class`."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        for pid in descendants(os.getpid()):
            if pid not in not_these and command(pid).startswith(f"ray::{class_name}"):
                return pid
        time.sleep(0.1)
    raise AssertionError(f"no process of {class_name}")


def descendants(pid):
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""
