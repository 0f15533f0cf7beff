"""What a finished run tells the planner: how often two of its arms disagree, and how much the seeds of a task repeat each other."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from actors.store import TRAJECTORIES
from distill.episode_columns import EpisodeColumns, paired, read_episodes
from distill.power import Effect, alike_from_both
from envs.panel import Panel

_PREFERRED = (("distill", "baseline"), ("teacher", "base"))


class PowerSourceError(ValueError):
    """The run cannot tell what is asked; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Two arms of a run, over the (task, seed) pairs that both finished."""

    run: str
    a: str
    b: str
    num_tasks: int
    num_seeds: int
    num_pairs: int
    num_comparisons: int
    rate_a: float
    rate_b: float
    discordance: float
    """Share of pairs that only one arm won."""
    correlation_a: float | None
    """Of success between two seeds of a task; None under one seed, which cannot tell."""
    correlation_b: float | None

    def effect(self, difference: float, base_rate: float | None = None) -> Effect:
        """This run's tasks with another difference, and another base rate where one is given."""
        between = alike_from_both(self.rate_a, self.rate_b, self._both_win)
        rates = ((self.rate_a, self.correlation_a), (self.rate_b, self.correlation_b))
        alike_a, alike_b = (
            max(0.0, between) if correlation is None else _alike(rate, correlation)
            for rate, correlation in rates
        )
        # Chance may show the arms to agree more than tasks can make them; then the seeds repeat each other at least as much.
        short = max(1.0, abs(between) / max(1e-9, (alike_a * alike_b) ** 0.5))
        alike_a, alike_b = (min(1.0, max(alike * short, abs(between))) for alike in (alike_a, alike_b))
        rate_b = self.rate_b if base_rate is None else base_rate
        return Effect(
            rate_a=rate_b + difference,
            rate_b=rate_b,
            alike_a=alike_a,
            alike_b=alike_b,
            alike_between=between,
        )

    @property
    def _both_win(self) -> float:
        return (self.rate_a + self.rate_b - self.discordance) / 2


def measure_run(run_dir: Path, pair: tuple[str, str] | None = None) -> Measured:
    """Read two arms of a finished run; without `pair` the students, else teacher and base, else the first two arms.

    Raises:
        PowerSourceError: `run_dir` is no finished run, or lacks the arms.
    """
    try:
        run = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
        results = json.loads((run_dir / "report" / "results.json").read_text(encoding="utf-8"))
        store = run_dir / run["store"]
        panel = Panel.load(store / run["stages"]["tasks"] / "test.panel.json")
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise PowerSourceError(
            f"{run_dir} is no finished run ({error}); name a folder such as runs/demo"
        ) from None
    arms = [arm["name"] for arm in results["arms"]]
    a, b = pair or _choose_pair(arms)
    for name in (a, b):
        if name not in arms:
            raise PowerSourceError(f"{run_dir} has no arm {name!r}; it has {', '.join(arms)}")
    columns = []
    for name in (a, b):
        folders = [store / run["stages"][f"eval-{name}-s{seed}"] / TRAJECTORIES for seed in results["seeds"]]
        columns.append(read_episodes(name, folders, panel))
    num_comparisons = sum(row["metric"] == "success" for row in results["comparisons"])
    return measure(*columns, run=run["config"]["name"], num_comparisons=max(1, num_comparisons))


def measure(a: EpisodeColumns, b: EpisodeColumns, *, run: str = "", num_comparisons: int = 1) -> Measured:
    a, b = paired(a.where(~a.error), b.where(~b.error))
    for columns in (a, b):
        if not len(columns) or columns.success.all() or not columns.success.any():
            what = "no pair of episodes" if not len(columns) else "the same outcome in every episode"
            raise PowerSourceError(
                f"arm {columns.name} has {what}, from which nothing can be measured; choose another pair of arms"
            )
    return Measured(
        run=run,
        a=a.name,
        b=b.name,
        num_tasks=len(np.unique(a.task)),
        num_seeds=len(np.unique(a.seed)),
        num_pairs=len(a),
        num_comparisons=num_comparisons,
        rate_a=float(a.success.mean()),
        rate_b=float(b.success.mean()),
        discordance=float((a.success != b.success).mean()),
        correlation_a=correlation_within_tasks(a.success, a.task),
        correlation_b=correlation_within_tasks(b.success, b.task),
    )


def correlation_within_tasks(success_N: Any, task_N: Any) -> float | None:
    """Correlation of success between two different episodes of one task, from all such pairs; None where no task has two."""
    _, codes_N = np.unique(task_N, return_inverse=True)
    wins_C, counts_C = np.bincount(codes_N, weights=success_N), np.bincount(codes_N)
    num_pairs = float((counts_C * (counts_C - 1)).sum())
    rate = float(np.mean(success_N))
    if num_pairs == 0 or rate in (0.0, 1.0):
        return None
    both = float((wins_C * (wins_C - 1)).sum()) / num_pairs
    return (both - rate * rate) / (rate * (1 - rate))


def _alike(rate: float, correlation: float) -> float:
    return max(0.0, alike_from_both(rate, rate, rate * rate + correlation * rate * (1 - rate)))


def _choose_pair(arms: list[str]) -> tuple[str, str]:
    for pair in _PREFERRED:
        if set(pair) <= set(arms):
            return pair
    for b, a in pairwise(arms):
        return a, b
    raise PowerSourceError(f"a run with the arms {', '.join(arms) or 'none'} holds no pair of arms")
