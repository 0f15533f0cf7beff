"""Intervals and tests for paired, clustered outcomes. Knows arrays only: no arms, no trajectories, no files.

Episodes of one task share the task's difficulty, so several seeds of a task are not independent evidence. Everything
that compares two arms therefore takes the task of each pair as its `clusters_N`: whole tasks are resampled, and whole
tasks change sides under the null.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Interval = tuple[float, float]

NUM_RESAMPLES = 10_000
_CELLS_AT_ONCE = 4_000_000
"""Resamples x tasks held in memory together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSums:
    """Pairs (or episodes) added up by task: all that resampling whole tasks needs."""

    totals: Floats  # [num_clusters, num_metrics], differences added up
    counts: Ints | Floats  # [num_clusters], pairs in the task, or what else the totals are divided by

    @property
    def means(self) -> Floats:
        return self.totals.sum(axis=0) / self.counts.sum()


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion; `n` may be an effective number of episodes."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} episodes is not a proportion")
    z = float(special.ndtri((1 + confidence) / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def effective_number(values_N: NDArray[Any], clusters_N: NDArray[Any]) -> float:
    """How many independent values these are worth, by the variance between tasks; never more than there are."""
    values_N = np.asarray(values_N, dtype=np.float64)
    sums = cluster_sums(values_N[:, None], clusters_N)
    num_clusters = len(sums.counts)
    variance = float(np.var(values_N))
    if num_clusters in (1, len(values_N)) or variance == 0:
        return float(num_clusters)  # without spread, as if the seeds of a task repeated each other
    residuals_C = sums.totals[:, 0] - values_N.mean() * sums.counts
    between = float(residuals_C @ residuals_C) / len(values_N) ** 2
    return min(float(len(values_N)), variance / between) if between > 0 else float(len(values_N))


def mcnemar_exact(a_only: int, b_only: int) -> float:
    """Two-sided p-value from the pairs that only one arm won; right when each task is played under one seed."""
    discordant = a_only + b_only
    if discordant == 0:
        return 1.0
    return min(1.0, 2.0 * float(stats.binom.cdf(min(a_only, b_only), discordant, 0.5)))


def cluster_sums(differences_NM: NDArray[Any], clusters_N: NDArray[Any]) -> ClusterSums:
    """Add up rows of one cluster; `clusters_N` holds any integer label of the task."""
    _, codes_N = np.unique(np.asarray(clusters_N), return_inverse=True)
    num_clusters = int(codes_N.max()) + 1 if len(codes_N) else 0
    columns = [
        np.bincount(codes_N, weights=column, minlength=num_clusters)
        for column in np.asarray(differences_NM, dtype=np.float64).T
    ]
    return ClusterSums(totals=np.stack(columns, axis=1), counts=np.bincount(codes_N, minlength=num_clusters))


def bootstrap_intervals(
    sums: ClusterSums,
    *,
    confidence: float = 0.95,
    resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    method: Literal["percentile", "bca"] = "bca",
) -> list[Interval]:
    """Interval of each metric's mean difference: tasks are drawn with replacement, and all their pairs come along.

    Every metric sees the same draws. `bca` corrects for bias and skew (Efron 1987); where a metric does not vary
    its interval is the point itself.
    """
    means_RM = _resampled_means(sums, resamples, np.random.default_rng(seed))
    tail = (1 - confidence) / 2
    levels = np.array([tail, 1 - tail])
    intervals = []
    for metric, mean in enumerate(sums.means):
        draws_R = means_RM[:, metric]
        at = _bca_levels(sums, metric, draws_R, mean, levels) if method == "bca" else levels
        low, high = np.quantile(draws_R, at)
        intervals.append((float(low), float(high)))
    return intervals


def ratio_intervals(
    sums: ClusterSums, *, confidence: float = 0.95, resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[tuple[float, float | None]]:
    """Interval of each ratio of two sums, such as tokens over successes: `sums.counts` is what is divided by.

    Tasks are drawn with replacement, read by BCa. Where so many draws hold nothing to divide by that they reach into the
    interval, its upper end is None: the data set no limit.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        draws_RM = _resampled_means(sums, resamples, np.random.default_rng(seed))
    draws_RM = np.where(np.isnan(draws_RM), np.inf, draws_RM)
    tail = (1 - confidence) / 2
    levels = np.array([tail, 1 - tail])
    intervals: list[tuple[float, float | None]] = []
    for metric, ratio in enumerate(sums.means):
        draws_R = draws_RM[:, metric]
        at = _bca_levels(sums, metric, draws_R, ratio, levels)
        # Not interpolated: between a number and infinity there is none.
        low, high = np.quantile(draws_R, at, method="inverted_cdf")
        intervals.append((float(low), float(high) if np.isfinite(high) else None))
    return intervals


def difference_intervals(
    one: ClusterSums,
    other: ClusterSums,
    *,
    confidence: float = 0.95,
    resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Interval of the difference of two groups' means, which share no task: each group's tasks are drawn by themselves."""
    rng = np.random.default_rng(seed)
    draws_RM = _resampled_means(one, resamples, rng) - _resampled_means(other, resamples, rng)
    tail = (1 - confidence) / 2
    low_M, high_M = np.quantile(draws_RM, [tail, 1 - tail], axis=0)
    return [(float(low), float(high)) for low, high in zip(low_M, high_M, strict=True)]


def sign_flip_p_value(
    sums_C: Floats, *, resamples: int = NUM_RESAMPLES, seed: int = 0, largest_exact: int = 5_000
) -> float:
    """Two-sided p-value of "the two arms are the same on every task": each task's difference may change its sign.

    Whole-number differences (success) are counted exactly and equal McNemar's exact test when each task has one
    pair; other metrics are drawn at random, and their p-value is never below 1 / (resamples + 1).
    """
    moved_C = np.abs(sums_C[sums_C != 0])
    if len(moved_C) == 0:
        return 1.0
    observed = abs(float(sums_C.sum()))
    if moved_C.sum() <= largest_exact and bool(np.all(moved_C == np.round(moved_C))):
        return _sign_flip_exact(moved_C.astype(np.int64), round(observed))
    rng = np.random.default_rng(seed)
    tolerance = 1e-9 * float(moved_C.sum())
    beyond = 0
    for rows in _blocks(resamples, len(moved_C)):
        signs_RC = rng.integers(0, 2, size=(rows, len(moved_C)), dtype=np.int8).astype(np.float64)
        totals_R = 2.0 * (signs_RC @ moved_C) - moved_C.sum()
        beyond += int(np.sum(np.abs(totals_R) >= observed - tolerance))
    return (beyond + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values, in the order given."""
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = worst
    return adjusted


def pairs_needed(
    difference: float,
    discordance: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    design_effect: float = 1.0,
) -> int:
    """Pairs that tell two success rates `difference` apart when `discordance` of the pairs are won by one arm only.

    Connor (1987), for McNemar's test. `design_effect` above 1 pays for several seeds of one task.
    """
    gap = abs(difference)
    if not 0 < gap <= discordance <= 1:
        raise ValueError(
            f"a difference of {difference} needs a discordance between it and 1, not {discordance}"
        )
    z_alpha, z_power = float(special.ndtri(1 - alpha / 2)), float(special.ndtri(power))
    needed = (z_alpha * math.sqrt(discordance) + z_power * math.sqrt(discordance - gap**2)) ** 2 / gap**2
    return math.ceil(needed * design_effect)


def detectable_difference(
    num_pairs: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest difference that so many pairs tell with this power; None when even the largest is too small."""
    if (
        num_pairs <= 0
        or discordance <= 0
        or pairs_needed(discordance, discordance, alpha=alpha, power=power) > num_pairs
    ):
        return None
    low, high = 0.0, discordance
    for _ in range(50):
        middle = (low + high) / 2
        enough = pairs_needed(middle, discordance, alpha=alpha, power=power) <= num_pairs
        low, high = (low, middle) if enough else (middle, high)
    return high


def _blocks(resamples: int, width: int) -> list[int]:
    size = max(1, min(resamples, _CELLS_AT_ONCE // max(1, width)))
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def _resampled_means(sums: ClusterSums, resamples: int, rng: np.random.Generator) -> Floats:
    num_clusters = len(sums.counts)
    table_CM = np.column_stack([sums.totals, sums.counts.astype(np.float64)])
    means = []
    for rows in _blocks(resamples, num_clusters):
        drawn = rng.integers(0, num_clusters, size=(rows, num_clusters))
        drawn += np.arange(rows)[:, None] * num_clusters
        times_RC = np.bincount(drawn.ravel(), minlength=rows * num_clusters).reshape(rows, num_clusters)
        totals = times_RC.astype(np.float64) @ table_CM
        means.append(totals[:, :-1] / totals[:, -1:])
    return np.concatenate(means)


def _bca_levels(sums: ClusterSums, metric: int, draws_R: Floats, mean: float, levels: Floats) -> Floats:
    """The quantiles that BCa reads instead of the nominal ones."""
    tolerance = 1e-12 * max(1.0, abs(mean))
    below = float(np.mean(draws_R < mean - tolerance)) + 0.5 * float(
        np.mean(np.abs(draws_R - mean) <= tolerance)
    )
    num_clusters = len(sums.counts)
    if not 0 < below < 1 or num_clusters < 3:
        return levels
    sums_C, counts_C = sums.totals[:, metric], sums.counts
    if np.any(counts_C == counts_C.sum()):
        return levels  # without that task there is nothing to divide by
    left_out_C = (sums_C.sum() - sums_C) / (counts_C.sum() - counts_C)
    spread_C = left_out_C.mean() - left_out_C
    scale = float(np.sum(spread_C**2))
    acceleration = float(np.sum(spread_C**3)) / (6 * scale**1.5) if scale > 0 else 0.0
    bias = float(special.ndtri(below))
    z = bias + special.ndtri(levels)
    return np.asarray(special.ndtr(bias + z / (1 - acceleration * z)), dtype=np.float64)


def _sign_flip_exact(moved_C: Ints, observed: int) -> float:
    """Share of the 2**C sign patterns whose total is at least as far from zero."""
    shares: Floats = np.ones(1)  # of totals -reach, -reach + 2, ..., reach
    for step, times in zip(*np.unique(moved_C, return_counts=True), strict=True):
        spread = np.zeros(int(step) * int(times) + 1)
        spread[:: int(step)] = _fair_coins(int(times))
        shares = np.convolve(shares, spread).astype(np.float64)
    reach = int(moved_C.sum())
    totals = np.arange(-reach, reach + 1, 2)
    return min(1.0, float(shares[np.abs(totals) >= observed].sum()))


@cache
def _fair_coins(number: int) -> Floats:
    """Chance of 0, 1, ..., `number` heads."""
    return np.asarray(stats.binom.pmf(np.arange(number + 1), number, 0.5), dtype=np.float64)
