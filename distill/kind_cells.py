"""Success by kind of task and arm, and how each differs from base on the very same tasks and seeds: what heat maps show.

Knows columns of episodes; nothing of how they are drawn.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill import statistics
from distill.episode_columns import EpisodeColumns, paired

FEWEST_TASKS = 10
"""Distinct tasks below which a cell says next to nothing: with 10 tasks half of them won, the 95 % interval is 53 points wide."""
REFERENCE = "base"


def kind_cells(
    episodes: Mapping[str, EpisodeColumns],
    rows: Sequence[Mapping[str, Any]],
    kinds: Sequence[str],
    *,
    resamples: int = statistics.NUM_RESAMPLES,
) -> dict[str, Any]:
    """One cell for every arm and kind that was played. `rows`: the arms as `results.json` has them, with their success by kind; `kinds`: of each
    task of the panel. Episodes that the machinery lost count nowhere.

    Intervals of differences resample whole tasks; they are not corrected for the number of cells.
    """
    kinds_C = np.array(kinds)
    scored = {name: columns.where(~columns.error) for name, columns in episodes.items()}
    reference = scored.get(REFERENCE)
    cells = []
    for row in rows:
        own = scored[row["name"]]
        kind_N = kinds_C[own.task]
        for kind, figures in row["kinds"].items():
            num_tasks = len(np.unique(own.task[kind_N == kind]))
            cells.append(
                {
                    "arm": row["name"],
                    "kind": kind,
                    **{name: figures[name] for name in ("n", "success_rate", "success_ci95")},
                    "num_tasks": num_tasks,
                    "few": num_tasks < FEWEST_TASKS,
                    "difference": _difference(own, reference, kind, kinds_C, resamples),
                }
            )
    return {
        "reference": REFERENCE if reference is not None else None,
        "fewest_tasks": FEWEST_TASKS,
        "cells": cells,
    }


def _difference(
    columns: EpisodeColumns,
    reference: EpisodeColumns | None,
    kind: str,
    kinds_C: NDArray[Any],
    resamples: int,
) -> dict[str, Any] | None:
    """None for base itself, and where no pair of (task, seed) was finished by both."""
    if reference is None or columns.name == REFERENCE:
        return None
    a, b = paired(*(c.where(kinds_C[c.task] == kind) for c in (columns, reference)))
    if not len(a):
        return None
    gains_N = a.success.astype(np.float64) - b.success
    sums = statistics.cluster_sums(gains_N[:, None], a.task)
    (interval,) = statistics.bootstrap_intervals(sums, resamples=resamples)
    return {
        "delta": float(sums.means[0]),
        "ci95": list(interval),
        "n_pairs": len(a),
        "num_tasks": len(sums.counts),
        "few": len(sums.counts) < FEWEST_TASKS,
    }
