"""Studies whose truth is known: records of two arms or more, drawn from a law, read and compared as a run's are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from actors.trajectory import TRAJECTORY_SCHEMA, Trajectory, to_row
from distill.results import build_results

MOST_LOOKS = 6
"""An episode's length varies by this many turns."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """How the arms "teacher" and "base" play. Logistic, on purpose: the planner of `distill.power` imagines normal numbers."""

    shift: float = 0.0
    """What the teacher has over base on every task, in logits."""
    own: float = 0.0
    """Standard deviation of what it has on single tasks; cancels over all of them."""
    base: float = -0.4
    spread: float = 1.5
    """Standard deviation of the tasks' difficulty."""
    repeats: bool = False
    """Every seed of a task plays the same episode, as greedy sampling does."""
    shorter: float = 0.0
    """What makes the teacher's episodes shorter, in logits of a look."""

    def means(self, arm: str) -> dict[str, float]:
        """True means over all tasks there could be."""
        points, weights = np.polynomial.hermite_e.hermegauss(80)
        spread = np.hypot(self.spread, self.own) if arm == "teacher" else self.spread
        chance = _logistic(self.base + (self.shift if arm == "teacher" else 0.0) - spread * points)
        values = {
            "success": chance,
            "score": chance + (1 - chance) * chance / 2,
            "steps": 2 + MOST_LOOKS * self.look(arm, chance),
        }
        return {name: float(weights @ value / weights.sum()) for name, value in values.items()}

    def look(self, arm: str, chance_C: np.ndarray) -> np.ndarray:
        """Chance of each further look: hard tasks take longer."""
        return _logistic(np.log(1 / chance_C - 1) - (self.shorter if arm == "teacher" else 0.0))

    def chances(self, rng: np.random.Generator, num_tasks: int) -> dict[str, np.ndarray]:
        """Of winning a task, by arm."""
        difficulty_C = rng.normal(0, self.spread, num_tasks)
        own_C = rng.normal(0, self.own, num_tasks)
        return {
            "teacher": _logistic(self.base + self.shift + own_C - difficulty_C),
            "base": _logistic(self.base - difficulty_C),
        }


class Recorder:
    """Makes tables of episodes: what happened is taken from records of every outcome and length, where and when from those of every task and seed."""

    def __init__(self, panel: Any, trajectory_of: Any, seeds: int, arms: tuple[str, ...]):
        self.panel, self.seeds, self.arms = panel, seeds, arms
        self._asked = {
            arm: _table([trajectory_of(t, arm=arm, seed=s) for t in panel.tasks for s in range(seeds)])
            for arm in arms
        }
        self._happened = {
            arm: _table(
                [
                    _with_looks(trajectory_of(panel.tasks[0], arm=arm, success=success), looks)
                    for success in (False, True)
                    for looks in range(MOST_LOOKS + 1)
                ]
            )
            for arm in arms
        }

    def episodes(self, rng: np.random.Generator, law: Law) -> dict[str, pa.Table]:
        """One study's episodes by arm, sorted by task and seed; arms beside the teacher play as base."""
        chances = law.chances(rng, len(self.panel.tasks))
        return {arm: self._draw(rng, law, arm, chances.get(arm, chances["base"])) for arm in self.arms}

    def _draw(self, rng: np.random.Generator, law: Law, arm: str, chance_C: np.ndarray) -> pa.Table:
        shape = (len(chance_C), 1 if law.repeats else self.seeds)
        wins_CS = rng.random(shape) < chance_C[:, None]
        looks_CS = rng.binomial(MOST_LOOKS, law.look(arm, chance_C)[:, None], size=shape)
        partial_CS = rng.random(shape) * chance_C[:, None]
        wins, looks, partial = (
            np.broadcast_to(x, (len(chance_C), self.seeds)).ravel() for x in (wins_CS, looks_CS, partial_CS)
        )
        rows = self._happened[arm].take(wins * (MOST_LOOKS + 1) + looks)
        asked = {name: self._asked[arm][name] for name in ("id", "task", "seed")}
        for name, column in (asked | {"score": pa.array(np.where(wins, 1.0, partial))}).items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    arms: dict[str, pa.Table]
    results: dict[str, Any]

    def row(self, metric: str = "success") -> dict[str, Any]:
        (row,) = [
            row
            for row in self.results["comparisons"]
            if (row["a"], row["b"], row["metric"]) == ("teacher", "base", metric)
        ]
        return row

    def task_sums(self, seeds: int) -> np.ndarray:
        """The teacher's wins minus base's, by task."""
        teacher, base = (self.arms[arm]["success"].to_numpy().astype(float) for arm in ("teacher", "base"))
        return (teacher - base).reshape(-1, seeds).sum(axis=1)


def studies(recorder: Recorder, law: Law, number: int, *, seed: int, **options: Any) -> Iterator[Study]:
    rng = np.random.default_rng(seed)
    for _ in range(number):
        arms = recorder.episodes(rng, law)
        yield Study(arms=arms, results=build_results("synthetic", recorder.panel, arms, **options))


def _table(trajectories: list[Trajectory]) -> pa.Table:
    return pa.Table.from_pylist([to_row(t) for t in trajectories], schema=TRAJECTORY_SCHEMA)


def _with_looks(trajectory: Trajectory, looks: int) -> Trajectory:
    _, go, *rest = trajectory.turns
    return replace(trajectory, turns=(go,) * (looks + 1) + tuple(rest[:1]))


def _logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))
