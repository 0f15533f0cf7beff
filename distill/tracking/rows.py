"""What trackers are told of the lines of `metrics.jsonl`: names that sort well, and a step that means something."""

from collections.abc import Mapping
from typing import Any

from distill.tracking.base import Row

_NOT_MEASURED = {"event", "stage", "key", "kind", "arm", "seed", "step", "ended", "epoch"}


def row_of(line: Mapping[str, Any]) -> Row:
    """Training by optimiser step, an evaluation by seed, a stage once."""
    group, step = {
        "train": lambda: (f"train/{line['arm']}-s{line['seed']}", line["step"]),
        "evaluation": lambda: (f"eval/{line['arm']}", line["seed"]),
        "stage": lambda: (f"stage/{line['stage']}", 0),
    }[line["event"]]()
    metrics = {
        f"{group}/{name}": float(value)
        for name, value in line.items()
        if name not in _NOT_MEASURED and isinstance(value, int | float)
    }
    return Row(step=step, metrics=metrics)
