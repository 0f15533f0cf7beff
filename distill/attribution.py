"""Which of a winning prompt's hints did it: tasks that base lost and the teacher won, played again with every part of its hints.

Of an episode with hints {1..k}, every subset is played under the same seed, so that nothing else changes. From the outcomes follow: whether
the episode is lost without a hint (leave one out), won by it alone (add one in), and its Shapley value (Shapley 1953), which shares the one
win out among the hints. Knows outcomes only; who plays them is the caller's affair.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from actors.trajectory import GivenHint, Trajectory
from distill import statistics
from envs.task import Task

MAX_HINTS = 4
"""2^k subsets are played for each flip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A (task, seed) that base lost and the hinted arm won."""

    task: Task
    seed: int
    hints: tuple[GivenHint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HintCredit:
    """What one hint did over all flips that had it in the prompt. Shares are of `num_flips`."""

    id: str
    text: str
    num_flips: int
    needed: float
    """Lost without it."""
    enough: float
    """Won by it alone."""
    shapley: float
    """Mean share of the win; the hints of one episode add up to 1."""
    shapley_ci95: tuple[float, float]
    """Tasks resampled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """All flips together."""

    num_flips: int
    num_unstable: int
    """Flips that were not what they were when played again with all hints and with none; they take no part in any credit."""
    any_alone: float
    """Share that at least one hint alone wins."""
    together_only: float
    """Share that no smaller part of its hints wins."""
    hints: tuple[HintCredit, ...]
    """Most credit in all first."""


def find_flips(base: Iterable[Trajectory], hinted: Iterable[Trajectory]) -> list[Flip]:
    """In the order of task and seed; episodes that the machinery lost are no evidence, and more than `MAX_HINTS` hints are too many."""
    lost = {(t.task.key, t.seed) for t in base if not t.success and t.error is None}
    found = [
        Flip(task=t.task, seed=t.seed, hints=t.hints)
        for t in hinted
        if t.success and 0 < len(t.hints) <= MAX_HINTS and (t.task.key, t.seed) in lost
    ]
    return sorted(found, key=lambda flip: (flip.task.key, flip.seed))


def subsets(hints: Sequence[GivenHint]) -> list[tuple[GivenHint, ...]]:
    """Every part of the hints, the empty one first, each in the order in which they were given."""
    return [chosen for size in range(len(hints) + 1) for chosen in itertools.combinations(hints, size)]


def shapley(won: Mapping[frozenset[str], bool], hints: Sequence[str]) -> dict[str, float]:
    """Each hint's mean gain over all orders in which the hints could have been added; `won` holds every subset."""
    k = len(hints)
    shares = dict.fromkeys(hints, 0.0)
    for hint in hints:
        others = [other for other in hints if other != hint]
        for size in range(k):
            weight = math.factorial(size) * math.factorial(k - size - 1) / math.factorial(k)
            for part in itertools.combinations(others, size):
                gain = int(won[frozenset((*part, hint))]) - int(won[frozenset(part)])
                shares[hint] += weight * gain
    return shares


def attribute(
    flips: Sequence[Flip],
    won: Mapping[tuple[str, int], Mapping[frozenset[str], bool]],
    *,
    resamples: int = 10_000,
) -> Attribution:
    """Credit over all flips. `won`: by (task key, seed), whether each subset of hint ids wins."""
    stable = [flip for flip in flips if _holds(flip, won[flip.task.key, flip.seed])]
    shares: dict[str, list[tuple[Flip, float]]] = {}
    texts: dict[str, str] = {}
    for flip in stable:
        ids = [hint.id for hint in flip.hints]
        texts.update({hint.id: hint.text for hint in flip.hints})
        for hint, share in shapley(won[flip.task.key, flip.seed], ids).items():
            shares.setdefault(hint, []).append((flip, share))
    credited = [_credit(hint, texts[hint], rows, won, resamples) for hint, rows in shares.items()]
    outcomes = [(flip, won[flip.task.key, flip.seed]) for flip in stable]
    return Attribution(
        num_flips=len(flips),
        num_unstable=len(flips) - len(stable),
        any_alone=_share([any(own[frozenset({hint.id})] for hint in flip.hints) for flip, own in outcomes]),
        together_only=_share(
            [
                not any(wins for part, wins in own.items() if len(part) < len(flip.hints))
                for flip, own in outcomes
            ]
        ),
        hints=tuple(sorted(credited, key=lambda c: (-c.shapley * c.num_flips, c.id))),
    )


def _holds(flip: Flip, won: Mapping[frozenset[str], bool]) -> bool:
    return won[frozenset(hint.id for hint in flip.hints)] and not won[frozenset()]


def _credit(
    hint: str,
    text: str,
    rows: Sequence[tuple[Flip, float]],
    won: Mapping[tuple[str, int], Mapping[frozenset[str], bool]],
    resamples: int,
) -> HintCredit:
    outcomes = [(won[flip.task.key, flip.seed], frozenset(h.id for h in flip.hints)) for flip, _ in rows]
    values = np.array([[share] for _, share in rows])
    tasks = np.unique([flip.task.key for flip, _ in rows], return_inverse=True)[1]
    sums = statistics.cluster_sums(values, tasks)
    (interval,) = statistics.bootstrap_intervals(sums, resamples=resamples)
    return HintCredit(
        id=hint,
        text=text,
        num_flips=len(rows),
        needed=_share([not own[everything - {hint}] for own, everything in outcomes]),
        enough=_share([own[frozenset({hint})] for own, _ in outcomes]),
        shapley=float(values.mean()),
        shapley_ci95=interval,
    )


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
