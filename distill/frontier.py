"""Success against tokens: which arms are worth their tokens, and by which arm each of the others is beaten in both.

Knows columns of episodes; tokens are those of an episode's prompts and replies.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill import statistics
from distill.episode_columns import EpisodeColumns, paired


def token_frontier(
    episodes: Mapping[str, EpisodeColumns],
    rows: Sequence[Mapping[str, Any]],
    *,
    resamples: int = statistics.NUM_RESAMPLES,
) -> list[dict[str, Any]]:
    """One point an arm that was played: tokens and success of an episode with their 95 % intervals, and who dominates it. `rows`: the arms as
    `results.json` has them.

    An arm is dominated by one that wins as often or more with as many tokens or fewer, and is better in one of the two. Such a rank is of
    means; `certain` says whether both differences keep their sign in 95 % intervals over the pairs that both arms played.
    """
    scored = {name: c.where(~c.error) for name, c in episodes.items()}
    points = [_point(row, scored[row["name"]], resamples) for row in rows if row["success_rate"] is not None]
    for point in points:
        better = [other for other in points if _dominates(other, point)]
        # Of several the one that wins most: it is on the frontier itself.
        best = max(better, key=lambda other: (other["success_rate"], -other["tokens"]), default=None)
        point["dominated_by"] = (
            _beaten(scored[best["arm"]], scored[point["arm"]], resamples) if best else None
        )
    return points


def _point(row: Mapping[str, Any], columns: EpisodeColumns, resamples: int) -> dict[str, Any]:
    sums = statistics.cluster_sums(_tokens(columns)[:, None], columns.task)
    (interval,) = statistics.bootstrap_intervals(sums, resamples=resamples)
    return {
        "arm": row["name"],
        "tokens": float(sums.means[0]),
        "tokens_ci95": list(interval),
        "success_rate": row["success_rate"],
        "success_ci95": row["success_ci95"],
    }


def _dominates(other: Mapping[str, Any], point: Mapping[str, Any]) -> bool:
    better = (other["success_rate"], -other["tokens"])
    own = (point["success_rate"], -point["tokens"])
    return better != own and all(x >= y for x, y in zip(better, own, strict=True))


def _beaten(better: EpisodeColumns, columns: EpisodeColumns, resamples: int) -> dict[str, Any]:
    a, b = paired(better, columns)
    if not len(a):
        return {"arm": better.name, "n_pairs": 0, "certain": False}
    differences_NM = np.stack([a.success.astype(np.float64) - b.success, _tokens(a) - _tokens(b)], axis=1)
    sums = statistics.cluster_sums(differences_NM, a.task)
    wins, tokens = statistics.bootstrap_intervals(sums, resamples=resamples)
    return {
        "arm": better.name,
        "n_pairs": len(a),
        "success_gain": float(sums.means[0]),
        "success_gain_ci95": list(wins),
        "tokens_saved": float(-sums.means[1]),
        "tokens_saved_ci95": [-tokens[1], -tokens[0]],
        "certain": wins[0] > 0 and tokens[1] < 0,
    }


def _tokens(columns: EpisodeColumns) -> NDArray[np.float64]:
    return (columns.prompt_tokens + columns.completion_tokens).astype(np.float64)
