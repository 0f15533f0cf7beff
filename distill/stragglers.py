"""What became of slow episodes, arm by arm: none is dropped, so what is left to ask is whether those that a budget ended are like the rest.

A rate over episodes under a budget is a rate for the budget. Where it ends one kind of task more often than others, the kinds' mix of what was
finished is not the panel's, and that is said.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.trajectory import EndReason
from distill import statistics
from distill.episode_columns import EpisodeColumns

BUDGETS = {
    str(EndReason.STEP_LIMIT): "steps",
    str(EndReason.TOKEN_LIMIT): "tokens",
    str(EndReason.TIME_LIMIT): "seconds",
}
"""What ran out, by the reason that an episode ended."""
FEWEST = 5
"""Episodes over budget below which their kinds tell nothing."""
ALPHA = 0.05
_RESAMPLES = 2_000
"""Enough to tell 0.05 from what is far from it, Holm over a dozen arms included."""
_CELLS_AT_ONCE = 2_000_000


def straggler_row(
    columns: EpisodeColumns, kinds: Sequence[str], *, resamples: int = statistics.NUM_RESAMPLES
) -> dict[str, Any]:
    """One arm's line. `kinds`: of each task of the panel. Errors of the machinery are counted and are in no group."""
    played = columns.where(~columns.error)
    over = np.isin(played.end.astype(str), list(BUDGETS))
    return {
        "over_budget": {what: int((played.end.astype(str) == end).sum()) for end, what in BUDGETS.items()},
        "errors": int(columns.error.sum()),
        "retries": int(columns.retries.sum()),
        "groups": {
            "finished": _group(played.where(played.end.astype(str) == str(EndReason.DONE))),
            "over budget": _group(played.where(over)),
            "retried": _group(played.where(played.retries > 0)),
        },
        "kind_mix": _kind_mix(played.task, over, np.array(kinds), resamples),
    }


def straggler_warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences for arms whose budgets ended one kind of task more often than others, corrected for the number of arms asked. `rows`: the
    arms of `results.json`."""
    asked = [row for row in rows if row["stragglers"]["kind_mix"] is not None]
    adjusted = statistics.holm([row["stragglers"]["kind_mix"]["p_value"] for row in asked])
    return [
        _warning(row["name"], row["stragglers"], p_value)
        for row, p_value in zip(asked, adjusted, strict=True)
        if p_value < ALPHA
    ]


def _group(columns: EpisodeColumns) -> dict[str, Any]:
    return {
        "n": len(columns),
        "success_rate": float(columns.success.mean()) if len(columns) else None,
        "turns": _spread(columns.turns),
        "seconds": _spread(columns.seconds),
    }


def _spread(values_N: NDArray[Any]) -> list[float] | None:
    """The 10th, 50th and 90th of a hundred."""
    return [float(v) for v in np.quantile(values_N, [0.1, 0.5, 0.9])] if len(values_N) else None


def _kind_mix(
    task_N: NDArray[np.int64], over_N: NDArray[np.bool_], kinds_C: NDArray[Any], resamples: int
) -> dict[str, Any] | None:
    """By kind, how many ran over budget of how many; None where there are too few of them, or one kind.

    The p-value is of a permutation: whole tasks change their kinds, for the seeds of a task share its length.
    """
    tasks, codes_N = np.unique(task_N, return_inverse=True)
    kinds, kind_T = np.unique(kinds_C[tasks], return_inverse=True)
    if over_N.sum() < FEWEST or len(kinds) < 2 or over_N.all():
        return None
    counts_T = np.bincount(codes_N).astype(np.float64)
    over_T = np.bincount(codes_N, weights=over_N).astype(np.float64)
    observed = _distances(over_T, counts_T, kind_T[None], len(kinds))[0]
    as_far = 0
    rng = np.random.default_rng(0)
    for number in _portions(min(resamples, _RESAMPLES), len(tasks)):
        drawn_RT = rng.permuted(np.tile(kind_T, (number, 1)), axis=1)
        # With a margin for sums in another order: a draw that equals what was seen must count.
        as_far += int((_distances(over_T, counts_T, drawn_RT, len(kinds)) >= observed * (1 - 1e-9)).sum())
    return {
        "p_value": (1 + as_far) / (1 + min(resamples, _RESAMPLES)),
        "kinds": {
            str(kind): {
                "over_budget": int(over_T[kind_T == number].sum()),
                "n": int(counts_T[kind_T == number].sum()),
            }
            for number, kind in enumerate(kinds)
        },
    }


def _distances(
    over_T: NDArray[np.float64], counts_T: NDArray[np.float64], kind_RT: NDArray[np.int64], num_kinds: int
) -> NDArray[np.float64]:
    """Chi-square of episodes over budget by kind, of every row of kinds."""
    share = over_T.sum() / counts_T.sum()
    total_R = np.zeros(len(kind_RT))
    for kind in range(num_kinds):
        here_RT = kind_RT == kind
        expected_R = share * (here_RT @ counts_T)
        total_R += (here_RT @ over_T - expected_R) ** 2 / expected_R
    return total_R


def _portions(number: int, width: int) -> list[int]:
    """`number` in parts, none of which takes more than so much memory."""
    most = max(1, _CELLS_AT_ONCE // width)
    return [min(most, number - done) for done in range(0, number, most)]


def _warning(arm: str, line: Mapping[str, Any], p_value: float) -> str:
    kinds = line["kind_mix"]["kinds"]
    share = line["groups"]["over budget"]["n"] / sum(kind["n"] for kind in kinds.values())
    most = sorted(kinds, key=lambda name: kinds[name]["over_budget"] - share * kinds[name]["n"], reverse=True)
    listed = ", ".join(f"{kinds[name]['over_budget']} of {kinds[name]['n']} {name}" for name in most[:2])
    return (
        f"{arm}: budgets ended some kinds of task more often than others ({listed}; {100 * share:.1f} % of all; Holm p = {p_value:.3f}), "
        "so its rate depends on the budgets; look at it by kind, or raise them"
    )
