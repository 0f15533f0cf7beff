"""`metrics.jsonl` of a run: one line for every stage that ended, every evaluation of an arm under a seed, and every training step.

The file only grows. It is filled from what stages left in the store, so that a run which was killed, or whose stages another study has done,
ends up with the same lines; a line is known by its event, stage, key and step and is never written twice. Knows nothing of trackers.
"""

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from distill.stages import MANIFEST, Stage, StageStore
from distill.study import StudyPlan

METRICS = "metrics.jsonl"
Identity = tuple[str, str, str, int]
"""(event, stage, key, step)"""


def append_metrics(run_dir: Path, stages: Sequence[Stage], plan: StudyPlan, store: StageStore) -> int:
    """Write the lines of all finished `stages` that are not there yet; returns how many."""
    run_dir.mkdir(parents=True, exist_ok=True)
    evaluations = {stage.name: place for place, stage in plan.evaluations.items()}
    fits = {stage.name: place for place, stage in plan.fits.items()}
    with _held(run_dir / METRICS) as file:
        known, ended = _known(file)
        lines = [
            line
            for stage in stages
            # The stage's own line is written last: with it, all its lines are there.
            if ("stage", stage.name, stage.key, 0) not in ended and store.is_done(stage)
            for line in _lines(stage, store, evaluations.get(stage.name), fits.get(stage.name))
            if identity(line) not in known
        ]
        text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    return len(lines)


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines in the order in which they were written. Raises `ValueError` where there are none."""
    path = run_dir / METRICS
    if not path.is_file():
        raise ValueError(
            f"{run_dir} has no {METRICS}; name a study's folder such as runs/demo, or run the study again"
        )
    # Without the newline at its end a line is half written, and will be written again.
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return _parsed(whole, path)


def identity(line: Mapping[str, Any]) -> Identity:
    return line["event"], line["stage"], line["key"], line.get("step", 0)


@contextmanager
def _held(path: Path) -> Iterator[Any]:
    """The file open for appending, held by this process alone, behind its last whole line."""
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        yield file


def _known(file: Any) -> tuple[set[Identity], set[Identity]]:
    file.seek(0)
    found = {identity(line) for line in _parsed(file.read().decode(), file.name)}
    return found, {known for known in found if known[0] == "stage"}


def _parsed(text: str, path: str | Path) -> list[dict[str, Any]]:
    try:
        # Not splitlines: it also breaks at characters that JSON leaves inside a string.
        return [json.loads(line) for line in text.split("\n") if line]
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it and run the study again, which writes it anew"
        ) from None


def _lines(
    stage: Stage, store: StageStore, evaluated: tuple[str, int] | None, fitted: tuple[str, int] | None
) -> Iterator[dict[str, Any]]:
    manifest = store.manifest(stage)
    head = {"stage": stage.name, "key": stage.key}
    if fitted:
        yield from _steps(head, fitted, store.folder(stage) / METRICS)
    if evaluated:
        yield _evaluation(head, evaluated, stage, store, manifest["counts"])
    yield {
        "event": "stage",
        **head,
        "kind": stage.kind,
        "ended": round((store.folder(stage) / MANIFEST).stat().st_mtime, 3),
        "seconds": manifest["seconds"],
        **_numbers(manifest["counts"]),
    }


def _steps(head: Mapping[str, Any], fitted: tuple[str, int], path: Path) -> Iterator[dict[str, Any]]:
    arm, seed = fitted
    for number, text in enumerate(path.read_text().splitlines() if path.exists() else ()):
        row = json.loads(text)
        step = int(row.pop("step", number))
        yield {"event": "train", **head, "arm": arm, "seed": seed, "step": step, **_numbers(row)}


def _evaluation(
    head: Mapping[str, Any],
    evaluated: tuple[str, int],
    stage: Stage,
    store: StageStore,
    counts: Mapping[str, Any],
) -> dict[str, Any]:
    """Means of an episode over those that the machinery did not lose."""
    from actors.store import TRAJECTORIES
    from distill.episode_columns import read_episodes
    from envs.panel import Panel

    arm, seed = evaluated
    panel = Panel.load(store.folder(stage.inputs["tasks"]) / "test.panel.json")
    columns = read_episodes(arm, store.folder(stage) / TRAJECTORIES, panel)
    scored = columns.where(~columns.error)
    means = {
        name: float(np.mean(getattr(scored, name)))
        for name in ("score", "steps", "hints", "prompt_tokens", "cached_tokens", "completion_tokens")
        if len(scored)
    }
    rate = {"success_rate": float(scored.success.mean())} if len(scored) else {}
    return {
        "event": "evaluation",
        **head,
        "arm": arm,
        "seed": seed,
        "episodes": len(columns),
        "errors": int(columns.error.sum()),
        **rate,
        **means,
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, int | float | None]:
    """What is a number; one that is not finite is null, which JSON has."""
    return {
        name.replace(" ", "_"): value if math.isfinite(value) else None
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
