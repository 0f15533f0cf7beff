"""How one stage stands, from the files that it and its process left; whoever asks may be another process or another machine."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from actors.process_mark import ProcessMark
from actors.sight import BEAT_S, PROGRESS
from actors.standing import Standing
from distill.run_metrics import METRICS
from distill.sight.training import TrainingLog
from distill.stages import MANIFEST, lock_file

_MISSED_BEATS = 6
"""Beats that may be late: a shared disk shows a file seconds after it was written."""


class State(StrEnum):
    DONE = "done"
    RUNNING = "running"
    CRASHED = "crashed"
    """Its process is gone and said nothing."""
    STOPPED = "stopped"
    """Begun, and let go by a process that could still say so."""
    HELD = "held elsewhere"
    """By a process of another machine, which shows no sign that can be read here."""
    OWED = "owed"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """Times are Unix times."""

    name: str
    kind: str
    folder: Path
    state: State
    estimate: Mapping[str, float] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    writer: ProcessMark | None = None
    since: float | None = None
    """When the writer began."""
    standing: Standing | None = None
    """Of a rollout that runs or did not end."""
    beat_every_s: float = BEAT_S
    reason: str | None = None
    """Why it stopped, in its own words."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """The last optimiser step of a fit."""
    last_change: float | None = None
    """When a file of its folder was last written to."""

    @property
    def is_alive(self) -> bool | None:
        return self.writer.is_alive if self.writer else None

    @property
    def episodes(self) -> tuple[int, int] | None:
        """(done, asked for) of a rollout; what is asked for is an estimate before it begins."""
        if self.kind != "rollout":
            return None
        if self.state is State.DONE:
            return self.manifest["counts"]["episodes"], self.manifest["counts"]["episodes"]
        if self.standing:
            return self.standing.done, self.standing.asked
        return 0, int(self.estimate.get("episodes", 0))


def read_stage(name: str, folder: Path, estimate: Mapping[str, float], now: float) -> StageState:
    about: dict[str, Any] = {"name": name, "kind": folder.name.rpartition("-")[0], "folder": folder}
    about |= {"estimate": estimate, "last_change": _last_change(folder)}
    if manifest := _read_json(folder / MANIFEST):
        return StageState(state=State.DONE, manifest=manifest, **about)
    held = _read_json(lock_file(folder))
    heart = _read_json(folder / PROGRESS)
    standing = _standing(heart)
    writer = ProcessMark.from_json(held)
    if writer is None and standing and heart.get("state") != "stopped":
        # A rollout that no study asked for: nobody holds its folder.
        writer = ProcessMark.from_json(heart.get("writer"))
    every_s = float(heart.get("every_s", BEAT_S))
    if about["kind"] == "fit":
        about["training"] = _last_step(folder)
    return StageState(
        state=_state(folder, standing, writer, now - _MISSED_BEATS * every_s),
        writer=writer,
        since=held.get("since") or (standing.began if standing else None),
        standing=standing,
        beat_every_s=every_s,
        reason=heart.get("reason"),
        **about,
    )


def _state(folder: Path, standing: Standing | None, writer: ProcessMark | None, stale_before: float) -> State:
    if writer is None:
        begun = folder.is_dir() and any(folder.iterdir())
        return State.STOPPED if begun else State.OWED
    alive = writer.is_alive
    if alive is None and standing is None:
        return State.HELD
    if alive is None and standing is not None:
        alive = standing.updated >= stale_before
    return State.RUNNING if alive else State.CRASHED


def _standing(heart: Mapping[str, Any]) -> Standing | None:
    try:
        return Standing.from_json(heart) if heart else None
    except (KeyError, TypeError, ValueError):
        return None  # Of a version that wrote it otherwise: the rest of the folder still speaks.


def _last_step(folder: Path) -> Mapping[str, Any]:
    try:
        return TrainingLog(folder / METRICS).last()
    except ValueError:
        return {}


def _read_json(path: Path) -> dict[str, Any]:
    """{} for what is not there, empty, or half written."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _last_change(folder: Path) -> float | None:
    # The folder's own files: those further down are a checkpoint's or an adapter's, and come and go while they are looked at.
    times = [_modified(path) for path in folder.iterdir()] if folder.is_dir() else []
    return max(times, default=-math.inf) if times else None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return -math.inf
