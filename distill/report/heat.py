"""Heat maps of success by kind of task and arm, as rows for the page. Colour is shade and sign only; every cell says its number too."""

from collections.abc import Mapping
from typing import Any

_STRONGEST = 0.62
"""Opacity of a full cell: the page's ink still reads on it, on light and dark."""
_FULL_DIFFERENCE = 0.5
"""A difference of so much, or more, is painted full."""


def heat_map(kinds: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`arms` as columns, `rows` of (kind, cells); None where nothing was played. A cell may be None: not played."""
    if not kinds or not kinds["cells"]:
        return None
    cells = {(cell["arm"], cell["kind"]): cell for cell in kinds["cells"]}
    arms = list(dict.fromkeys(arm for arm, _ in cells))
    names = sorted({kind for _, kind in cells})
    return {
        "arms": arms,
        "reference": kinds["reference"],
        "fewest_tasks": kinds["fewest_tasks"],
        "num_few": sum(cell["few"] for cell in cells.values()),
        "success": [(kind, [_rate(cells.get((arm, kind))) for arm in arms]) for kind in names],
        "differences": [
            (kind, [_difference(cells.get((arm, kind))) for arm in arms if arm != kinds["reference"]])
            for kind in names
        ]
        if kinds["reference"] is not None and len(arms) > 1
        else [],
    }


def _rate(cell: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    low, high = cell["success_ci95"]
    return {
        "text": f"{100 * cell['success_rate']:.0f}",
        "interval": f"{100 * low:.0f}-{100 * high:.0f}",
        "n": cell["n"],
        "tasks": cell["num_tasks"],
        "few": cell["few"],
        "class": "rate",
        "shade": round(_STRONGEST * cell["success_rate"], 3),
    }


def _difference(cell: Mapping[str, Any] | None) -> dict[str, Any] | None:
    difference = cell["difference"] if cell else None
    if difference is None:
        return None
    delta, (low, high) = difference["delta"], difference["ci95"]
    return {
        "text": f"{100 * delta:+.0f}" if round(100 * delta) else "0",
        "interval": f"{100 * low:.0f} to {100 * high:.0f}",
        "n": difference["n_pairs"],
        "tasks": difference["num_tasks"],
        "few": difference["few"],
        "class": "gain" if delta > 0 else "loss",
        "shade": round(_STRONGEST * min(1.0, abs(delta) / _FULL_DIFFERENCE), 3),
    }
