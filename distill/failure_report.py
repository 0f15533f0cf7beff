"""The failure taxonomy of a finished run as one document. Reads its records a batch at a time."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from distill.failures import Outcomes, flow, meaning, read_outcomes
from distill.run_folder import RunFolder

BASE = "base"


def failure_document(run: RunFolder) -> dict[str, Any]:
    """Per arm the lost episodes by class, and per arm but base what became of base's failures."""
    arms = {
        arm: read_outcomes(t for rollout in run.evaluations(arm) for t in rollout.trajectories())
        for arm in dict.fromkeys(r.arm for r in run.rollouts if r.part == "test")
    }
    panel = run.panel
    classes = sum((outcomes.classes for outcomes in arms.values()), Counter[str]())
    # Marks that are no episode's class come last.
    marks = {mark: classes[mark] for outcomes in arms.values() for mark in outcomes.all_marks}
    return {
        "study": run.config.name,
        "panel": {"name": panel.name, "sha256": panel.sha256},
        "classes": {mark: meaning(mark, run.config.env.name) for mark, _ in _ordered(marks)},
        "arms": [_arm(name, outcomes) for name, outcomes in arms.items()],
        "flows": [
            _flow(name, arms[BASE], outcomes)
            for name, outcomes in arms.items()
            if name != BASE and BASE in arms
        ],
    }


def _arm(name: str, outcomes: Outcomes) -> dict[str, Any]:
    lost = sum(outcomes.classes.values())
    return {
        "arm": name,
        "episodes": len(outcomes.marks),
        "lost": lost,
        "errors": outcomes.num_errors,
        "classes": dict(_ordered(outcomes.classes)),
        "marks": dict(_ordered(outcomes.all_marks)),
    }


def _flow(name: str, base: Outcomes, other: Outcomes) -> dict[str, Any]:
    found = flow(base, other)
    classes: Counter[str] = found.mended + found.new
    for (before, here), count in found.both_lost.items():
        classes[before] += count
        classes[here] += 0
    return {
        "arm": name,
        "pairs": found.num_pairs,
        "mended": sum(found.mended.values()),
        "broken": sum(found.broken.values()),
        "classes": [
            _row(mark, found.mended, found.broken, found.new, found.both_lost)
            for mark, _ in _ordered(classes)
        ],
        "both_lost": [
            {"base": before, "arm": here, "count": count}
            for (before, here), count in sorted(found.both_lost.items(), key=lambda item: (-item[1], item[0]))
        ],
    }


def _row(
    mark: str,
    mended: Mapping[str, int],
    broken: Mapping[str, int],
    new: Mapping[str, int],
    both_lost: Mapping[tuple[str, str], int],
) -> dict[str, Any]:
    """A class before and after: base's losses of it are mended, kept or become others; new ones come from wins or from other classes."""
    kept = both_lost.get((mark, mark), 0)
    became = sum(count for (before, here), count in both_lost.items() if before == mark != here)
    return {
        "class": mark,
        "base": mended.get(mark, 0) + kept + became,
        "mended": mended.get(mark, 0),
        "kept": kept,
        "became_another": became,
        "new_from_won": broken.get(mark, 0),
        "new_from_another": new.get(mark, 0) - broken.get(mark, 0),
        "arm": kept + new.get(mark, 0),
    }


def _ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
