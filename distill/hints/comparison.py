"""Two banks side by side: what only one of them says, what both say in other words, what both say but not as often."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz, process

from distill.hints.bank import Bank, comparable, forbids
from distill.hints.config import BankConfig
from distill.hints.hint import Hint

Pair = tuple[Hint, Hint]
"""(of the first bank, of the second)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BankDiff:
    """What tells two banks apart; each hint of either stands in exactly one place."""

    only_a: tuple[Hint, ...]
    only_b: tuple[Hint, ...]
    reworded: tuple[Pair, ...]
    """Near-duplicates in place of one another, the most alike first."""
    recounted: tuple[Pair, ...]
    """The same words, written more or less often or after more or fewer failures."""
    num_same: int

    @property
    def same(self) -> bool:
        return not (self.only_a or self.only_b or self.reworded or self.recounted)


def diff_banks(a: Bank, b: Bank, similarity: float = BankConfig().similarity) -> BankDiff:
    """Every hint of `a` beside its counterpart in `b`; diff_banks(b, a) is the mirror image."""
    of_a, of_b = {hint.id: hint for hint in a.hints}, {hint.id: hint for hint in b.hints}
    both = [(hint, of_b[key]) for key, hint in of_a.items() if key in of_b]
    left = [hint for key, hint in of_a.items() if key not in of_b]
    right = [hint for key, hint in of_b.items() if key not in of_a]
    reworded = _matched(left, right, similarity)
    matched = {hint.id for pair in reworded for hint in pair}
    recounted = [(x, y) for x, y in both if (x.count, x.votes) != (y.count, y.votes)]
    return BankDiff(
        only_a=tuple(hint for hint in left if hint.id not in matched),
        only_b=tuple(hint for hint in right if hint.id not in matched),
        reworded=tuple(reworded),
        recounted=tuple(sorted(recounted, key=lambda pair: (pair[0].env, pair[0].kind, pair[0].id))),
        num_same=len(both) - len(recounted),
    )


def near_pairs(hints: Sequence[Hint], similarity: float) -> list[Pair]:
    """Hints of one kind that are alike: each with the most frequent one before it that it repeats."""
    pairs = []
    for group in _comparable_groups(hints).values():
        keys = [comparable(hint.text) for hint in group]
        for i, hint in enumerate(group):
            match = next(
                process.extract_iter(keys[i], keys[:i], scorer=fuzz.ratio, score_cutoff=similarity), None
            )
            if match is not None:
                pairs.append((group[match[2]], hint))
    return pairs


def _matched(left: Sequence[Hint], right: Sequence[Hint], similarity: float) -> list[Pair]:
    """The most alike pairs, each hint at most once."""
    candidates: list[tuple[float, tuple[str, ...], Pair]] = []
    of_right = _comparable_groups(right)
    for key, group in _comparable_groups(left).items():
        candidates += _alike(group, of_right.get(key, []), similarity)
    # Ties by the pair's ids in either order, so that swapping the banks changes no pair.
    candidates.sort(key=lambda candidate: (-candidate[0], candidate[1]))
    taken: set[str] = set()
    pairs = []
    for _, ids, pair in candidates:
        if taken.isdisjoint(ids):
            taken.update(ids)
            pairs.append(pair)
    return pairs


def _alike(
    left: Sequence[Hint], right: Sequence[Hint], similarity: float
) -> Iterable[tuple[float, tuple[str, ...], Pair]]:
    if not (left and right):
        return
    score_LR = process.cdist(
        [comparable(hint.text) for hint in left],
        [comparable(hint.text) for hint in right],
        scorer=fuzz.ratio,
        score_cutoff=similarity,
        dtype=np.float64,
    )
    for i, j in np.argwhere(score_LR >= similarity):
        pair = (left[i], right[j])
        yield float(score_LR[i, j]), tuple(sorted(hint.id for hint in pair)), pair


def _comparable_groups(hints: Iterable[Hint]) -> dict[tuple[str, str, bool], list[Hint]]:
    groups: dict[tuple[str, str, bool], list[Hint]] = defaultdict(list)
    for hint in hints:
        groups[hint.env, hint.kind, forbids(comparable(hint.text))].append(hint)
    return groups
