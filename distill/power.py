"""How many seeds a paired study needs: simulated studies of two arms, tested as `results` tests them. Knows arrays and rates only.

A task has a difficulty for each arm, and both arms play it once a seed. An arm wins an episode when a standard normal number, of which the share
`alike` is the task's and the rest is the episode's own, lies below a threshold that gives the arm its success rate. `alike_between` says how much
of it the two arms have in common; it decides the discordance (the share of pairs that only one arm wins), as `alike_a` and `alike_b` decide how
much the seeds of a task repeat each other.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from distill import statistics

NUM_STUDIES = 2_000
_CLOSEST = 1e-9


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Two arms as the planner imagines them."""

    rate_a: float
    rate_b: float
    alike_a: float
    """Latent correlation of two episodes of one task, arm a."""
    alike_b: float
    alike_between: float
    """Latent correlation of an episode of arm a with one of arm b, same task."""

    def __post_init__(self) -> None:
        for name, rate in (("base rate", self.rate_b), ("base rate plus difference", self.rate_a)):
            if not 0 < rate < 1:
                raise ValueError(f"the {name} is {rate:g}; it must lie between 0 and 1")

    @property
    def difference(self) -> float:
        return self.rate_a - self.rate_b

    @cached_property
    def discordance(self) -> float:
        return self.rate_a + self.rate_b - 2 * both_win(self.rate_a, self.rate_b, self.alike_between)

    @cached_property
    def repetition(self) -> float:
        """Correlation of the differences that two seeds of a task show: 0, each seed is new evidence; 1, they repeat each other."""
        a, b = self.rate_a, self.rate_b
        shared = both_win(a, a, self.alike_a) - a * a + both_win(b, b, self.alike_b) - b * b
        shared -= 2 * (both_win(a, b, self.alike_between) - a * b)
        variance = self.discordance - self.difference**2
        return max(0.0, shared / variance) if variance > 0 else 0.0

    def with_difference(self, difference: float) -> "Effect":
        return replace(self, rate_a=self.rate_b + difference)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPower:
    """The share of simulated studies that found the difference."""

    power: float
    ci95: statistics.Interval
    """Of the simulation alone (Wilson); it says nothing of whether the effect was imagined rightly."""


def effect_of(
    base_rate: float,
    difference: float,
    *,
    correlation: float | None = None,
    discordance: float | None = None,
) -> Effect:
    """An effect from what a user can state: how alike two episodes of one task are, how often only one arm wins, or both.

    With `correlation` alone (of success, two episodes of one task in one arm) the arms share their difficulties: the effect makes every task
    easier. With `discordance` alone, or beside it, arms may differ by task.

    Raises:
        ValueError: neither is given, or they exclude each other.
    """
    rate_a = base_rate + difference
    Effect(rate_a=rate_a, rate_b=base_rate, alike_a=0, alike_b=0, alike_between=0)
    if correlation is None and discordance is None:
        raise ValueError(
            "how alike episodes of one task are must come from a run, a correlation or a discordance"
        )
    between = None if discordance is None else alike_from_discordance(rate_a, base_rate, discordance)
    if correlation is None:
        assert between is not None
        alike = max(0.0, between)
    else:
        alike = alike_from_correlation(base_rate, correlation)
    if between is not None and between > alike + 1e-6:
        lowest = Effect(rate_a=rate_a, rate_b=base_rate, alike_a=alike, alike_b=alike, alike_between=alike)
        raise ValueError(
            f"a discordance of {discordance:g} is too low for a correlation of {correlation:g}: two arms cannot agree more than an arm with "
            f"itself, so at least {lowest.discordance:.3f}; leave one of the two out"
        )
    return Effect(
        rate_a=rate_a,
        rate_b=base_rate,
        alike_a=alike,
        alike_b=alike,
        alike_between=alike if between is None else between,
    )


def both_win(rate_a: float, rate_b: float, alike: float) -> float:
    """Chance that two episodes with these success rates and this latent correlation are both won."""
    if alike >= 1 - _CLOSEST:
        return min(rate_a, rate_b)
    if alike <= -1 + _CLOSEST:
        return max(0.0, rate_a + rate_b - 1)
    thresholds = stats.norm.ppf([rate_a, rate_b])
    return float(stats.multivariate_normal.cdf(thresholds, cov=[[1.0, alike], [alike, 1.0]]))


def alike_from_both(rate_a: float, rate_b: float, both: float) -> float:
    """The latent correlation at which `both` is the chance of winning twice; the nearest one where none reaches it."""
    gap = lambda alike: both_win(rate_a, rate_b, alike) - both  # noqa: E731
    if gap(-1.0) >= 0 or gap(1.0) <= 0:
        return -1.0 if gap(-1.0) >= 0 else 1.0
    return float(optimize.brentq(gap, -1.0, 1.0, xtol=1e-6))


def alike_from_correlation(rate: float, correlation: float) -> float:
    """From the correlation of success between two episodes of one task."""
    if not 0 <= correlation <= 1:
        raise ValueError(
            f"a correlation of {correlation:g} between episodes of one task is none; give 0 to 1"
        )
    return alike_from_both(rate, rate, rate * rate + correlation * rate * (1 - rate))


def alike_from_discordance(rate_a: float, rate_b: float, discordance: float) -> float:
    lowest, highest = abs(rate_a - rate_b), min(rate_a + rate_b, 2 - rate_a - rate_b)
    if not lowest <= discordance <= highest:
        raise ValueError(
            f"rates of {rate_b:g} and {rate_a:g} differ in {lowest:.3g} to {highest:.3g} of pairs, not in {discordance:g}; change discordance"
        )
    return alike_from_both(rate_a, rate_b, (rate_a + rate_b - discordance) / 2)


class Planner:
    """Answers for one panel size. The same seeded draws serve every question, so that power grows smoothly with the difference."""

    def __init__(
        self,
        num_tasks: int,
        *,
        alpha: float = 0.05,
        num_comparisons: int = 1,
        num_studies: int = NUM_STUDIES,
        seed: int = 0,
    ):
        if num_tasks < 2:
            raise ValueError(f"{num_tasks} tasks give no study; plan with 2 or more")
        if num_comparisons < 1:
            raise ValueError(f"a study has 1 comparison or more, not {num_comparisons}")
        self.num_tasks, self.num_studies, self.seed = num_tasks, num_studies, seed
        self.level = alpha / num_comparisons
        """Holm's first step: what a comparison needs that has no other's help. The power promised is a lower bound."""
        self._known: dict[tuple[Effect, int], SimulatedPower] = {}

    def simulated(self, effect: Effect, num_seeds: int) -> SimulatedPower:
        """Power at a number of seeds: the share of simulated studies in which the test of `results` rejects in the effect's direction."""
        if (effect, num_seeds) not in self._known:
            sign = 1 if effect.difference >= 0 else -1
            found = sum(
                int(sign * sums_C.sum() > 0 and statistics.sign_flip_p_value(sums_C) < self.level)
                for sums_C in self._task_sums(effect, num_seeds).astype(np.float64)
            )
            self._known[effect, num_seeds] = SimulatedPower(
                power=found / self.num_studies, ci95=statistics.wilson_interval(found, self.num_studies)
            )
        return self._known[effect, num_seeds]

    def by_formula(self, effect: Effect, num_seeds: int) -> float:
        """The same by the normal formula (Connor 1987), with the design effect of seeds that repeat each other."""
        num_pairs = self.num_tasks * num_seeds / (1 + (num_seeds - 1) * effect.repetition)
        gap, spread = abs(effect.difference), effect.discordance
        if gap == 0 or spread <= gap**2:
            return 1.0 if gap else self.level
        z = (gap * math.sqrt(num_pairs) - stats.norm.isf(self.level / 2) * math.sqrt(spread)) / math.sqrt(
            spread - gap**2
        )
        return float(stats.norm.cdf(z))

    def seeds_needed(self, effect: Effect, power: float, max_seeds: int) -> int | None:
        """The smallest number of seeds that simulated studies find enough; None where `max_seeds` do not suffice."""
        guess = next((s for s in range(1, max_seeds + 1) if self.by_formula(effect, s) >= power), max_seeds)
        if self.simulated(effect, guess).power >= power:
            while guess > 1 and self.simulated(effect, guess - 1).power >= power:
                guess -= 1
            return guess
        while guess < max_seeds:
            guess += 1
            if self.simulated(effect, guess).power >= power:
                return guess
        return None

    def detectable(self, effect: Effect, num_seeds: int, power: float, *, steps: int = 8) -> float | None:
        """The smallest difference of the effect's sign that so many seeds find; None where none does. Rounded up to 2**-`steps` of the range."""
        sign = 1.0 if effect.difference >= 0 else -1.0
        room = (1 - effect.rate_b if sign > 0 else effect.rate_b) - 1e-6
        low, high = 0.0, room
        if self.simulated(effect.with_difference(sign * high), num_seeds).power < power:
            return None
        for _ in range(steps):
            middle = (low + high) / 2
            enough = self.simulated(effect.with_difference(sign * middle), num_seeds).power >= power
            low, high = (low, middle) if enough else (middle, high)
        return sign * high

    def tasks_needed(self, effect: Effect, num_seeds: int, power: float) -> int:
        """Tasks that would do at a number of seeds, by the normal formula."""
        design_effect = 1 + (num_seeds - 1) * effect.repetition
        pairs = statistics.pairs_needed(
            effect.difference, effect.discordance, alpha=self.level, power=power, design_effect=design_effect
        )
        return math.ceil(pairs / num_seeds)

    def _task_sums(self, effect: Effect, num_seeds: int) -> NDArray[np.int64]:
        """Wins of arm a minus wins of arm b, by study and task: [num_studies, num_tasks]."""
        shape = (self.num_studies, self.num_tasks)
        rng = np.random.default_rng([self.seed, num_seeds])
        own, other = rng.standard_normal((2, *shape))
        joint = _shared_part(effect)
        task_b, task_a = own, joint * own + math.sqrt(max(0.0, 1 - joint * joint)) * other
        wins_a = self._wins(effect.rate_a, effect.alike_a, task_a, num_seeds, rng)
        wins_b = self._wins(effect.rate_b, effect.alike_b, task_b, num_seeds, rng)
        return wins_a - wins_b

    @staticmethod
    def _wins(
        rate: float, alike: float, task_RC: NDArray[Any], num_seeds: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        threshold = stats.norm.ppf(rate)
        if alike >= 1 - _CLOSEST:  # every seed repeats the first
            return num_seeds * (task_RC < threshold).astype(np.int64)
        chance_RC = stats.norm.cdf((threshold - math.sqrt(alike) * task_RC) / math.sqrt(1 - alike))
        # One uniform number an episode, whatever its chance: the draws stay in step when the difference moves.
        return sum(
            ((rng.random(task_RC.shape) < chance_RC).astype(np.int64) for _ in range(num_seeds)),
            start=np.zeros(task_RC.shape, dtype=np.int64),
        )


def _shared_part(effect: Effect) -> float:
    """Correlation of the two arms' difficulties of a task."""
    both = math.sqrt(effect.alike_a * effect.alike_b)
    return float(np.clip(effect.alike_between / both, -1.0, 1.0)) if both > 0 else 0.0
