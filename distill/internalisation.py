"""How much of what hints said a student does without them: three meters, each a paired figure with an interval over tasks.

What hints still add to it; how likely it finds, without hints, what the teacher said with them; and whether it gains as much where no training row
had the task's hints. Knows arrays and records, and neither plays nor runs a model.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill import statistics
from distill.episode_columns import EpisodeColumns, paired
from distill.statistics import ClusterSums, Interval

BASE, TEACHER = "base", "teacher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """One arm's success less another's, over the (task, seed) pairs that both finished."""

    rate: float
    rate_other: float
    delta: float
    ci95: Interval
    p_value: float
    num_pairs: int
    num_tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What one player makes of the same replies: one row an episode, in the same order for every player."""

    log_probs: NDArray[np.float64]  # [num_episodes], sums over the replies' tokens
    num_tokens: NDArray[np.int64]  # [num_episodes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """A player on the teacher's replies, in nats a token."""

    log_prob: float
    ci95: Interval
    over_base: float
    over_base_ci95: Interval
    closed: float | None
    """The share of the way from base to teacher; None where the teacher's own lead is not told apart from nothing."""
    closed_ci95: tuple[float, float | None] | None
    over_control: float | None
    """Over the student that learnt from the model's own successes; None where there is none."""
    over_control_ci95: Interval | None


def gain(
    one: EpisodeColumns, other: EpisodeColumns, *, resamples: int = statistics.NUM_RESAMPLES
) -> Gain | None:
    """None where the two share no pair."""
    one, other = paired(one.where(~one.error), other.where(~other.error))
    if not len(one):
        return None
    sums = _success_sums(one, other)
    (interval,) = statistics.bootstrap_intervals(sums, resamples=resamples)
    return Gain(
        rate=float(one.success.mean()),
        rate_other=float(other.success.mean()),
        delta=float(sums.means[0]),
        ci95=interval,
        p_value=statistics.sign_flip_p_value(sums.totals[:, 0], resamples=resamples),
        num_pairs=len(one),
        num_tasks=len(sums.counts),
    )


def gain_apart(
    one: EpisodeColumns,
    other: EpisodeColumns,
    groups: tuple[AbstractSet[int], AbstractSet[int]],
    *,
    resamples: int = statistics.NUM_RESAMPLES,
) -> tuple[float, Interval] | None:
    """By how much `one` gains more over `other` on the first group of tasks (indices into the panel) than on the second.

    None where a group holds fewer than two tasks: nothing can be resampled there.
    """
    one, other = paired(one.where(~one.error), other.where(~other.error))
    sums = []
    for tasks in groups:
        mask = np.isin(one.task, sorted(tasks))
        if len(np.unique(one.task[mask])) < 2:
            return None
        sums.append(_success_sums(one.where(mask), other.where(mask)))
    (interval,) = statistics.difference_intervals(*sums, resamples=resamples)
    return float(sums[0].means[0] - sums[1].means[0]), interval


def likelihoods(
    scores: Mapping[str, Scores],
    tasks_N: NDArray[Any],
    *,
    control: str | None = None,
    resamples: int = statistics.NUM_RESAMPLES,
) -> dict[str, Likelihood]:
    """Every player on the same episodes; `scores` holds `base` and `teacher` (base with the hints), `tasks_N` an episode's task.

    Training on what a model itself drew makes it surer of all it says, the teacher's words among them: a student's lead over base may be that
    alone. The control's is, and its lead over the control is not.
    """
    base = scores[BASE]
    for name, player in scores.items():
        if not np.array_equal(player.num_tokens, base.num_tokens):
            raise ValueError(
                f"{name} was scored on other tokens than base; score all players on the same replies"
            )
    lead = _sums(scores[TEACHER].log_probs - base.log_probs, base.num_tokens, tasks_N)
    (lead_ci,) = statistics.bootstrap_intervals(lead, resamples=resamples)
    told_apart = not lead_ci[0] <= 0 <= lead_ci[1]
    found = {}
    for name, player in scores.items():
        own = _sums(player.log_probs, base.num_tokens, tasks_N)
        over = _sums(player.log_probs - base.log_probs, base.num_tokens, tasks_N)
        beside = scores[control].log_probs if control else None
        apart = None if beside is None else _sums(player.log_probs - beside, base.num_tokens, tasks_N)
        closed = ClusterSums(totals=over.totals, counts=lead.totals[:, 0]) if told_apart else None
        found[name] = Likelihood(
            log_prob=float(own.means[0]),
            ci95=statistics.bootstrap_intervals(own, resamples=resamples)[0],
            over_base=float(over.means[0]),
            over_base_ci95=statistics.bootstrap_intervals(over, resamples=resamples)[0],
            closed=float(closed.means[0]) if closed else None,
            closed_ci95=statistics.ratio_intervals(closed, resamples=resamples)[0] if closed else None,
            over_control=float(apart.means[0]) if apart else None,
            over_control_ci95=statistics.bootstrap_intervals(apart, resamples=resamples)[0]
            if apart
            else None,
        )
    return found


def by_hints_seen(hints: Mapping[str, AbstractSet[str]], seen: AbstractSet[str]) -> dict[str, str]:
    """By task, whether its hints (ids) stood in prompts that became training rows: `seen` all of them, `unseen` none, `mixed` some."""
    return {
        task: "seen" if own <= seen else "mixed" if own & seen else "unseen"
        for task, own in hints.items()
        if own
    }


def _success_sums(one: EpisodeColumns, other: EpisodeColumns) -> ClusterSums:
    differences_N = one.success.astype(np.float64) - other.success
    return statistics.cluster_sums(differences_N[:, None], one.task)


def _sums(
    log_probs_N: NDArray[np.float64], num_tokens_N: NDArray[np.int64], tasks_N: Sequence[Any] | NDArray[Any]
) -> ClusterSums:
    """Nats by task, to be divided by the task's tokens."""
    _, codes_N = np.unique(np.asarray(tasks_N), return_inverse=True)
    both = statistics.cluster_sums(np.stack([log_probs_N, num_tokens_N], axis=1), codes_N).totals
    return ClusterSums(totals=both[:, :1], counts=both[:, 1])
