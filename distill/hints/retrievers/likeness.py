"""How alike texts are in words, and a choice among scored ones that avoids repeating itself. Knows neither hints nor tasks.

One row at a time: the likeness of thousands of hints with one another fills memory, and a choice of k needs k rows of it.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

_BLOCK = 1024
"""Rows that are at hand at once while all are gone through."""
_TIE = 1e-8


class Likeness:
    """Shared words over those of the shorter text, rare words weighing more; 1 for a text and itself."""

    def __init__(self, documents: Sequence[set[str]]):
        self._documents = [sorted(document) for document in documents]
        held_in = Counter(word for document in self._documents for word in document)
        self._weight = {word: math.log(1 + len(documents) / count) for word, count in held_in.items()}
        holders: dict[str, list[int]] = {word: [] for word in held_in}
        for number, document in enumerate(self._documents):
            for word in document:
                holders[word].append(number)
        self._holders = {word: np.array(numbers) for word, numbers in holders.items()}
        self._total = np.array([sum(self._weight[word] for word in document) for document in self._documents])

    def row(self, number: int) -> np.ndarray:
        """[num_texts] of one text with every text."""
        shared = np.zeros(len(self._documents))
        # In the order of the words, so that a sum does not depend on which of the two texts is asked for.
        for word in self._documents[number]:
            shared[self._holders[word]] += self._weight[word]
        return shared / np.maximum(np.minimum(self._total[number], self._total), 1e-9)

    def support(self, counts: np.ndarray, at_least: float) -> np.ndarray:
        """[num_texts] Counts of the texts that are at least so much alike, each weighed by its likeness."""
        found = []
        for start in range(0, len(self._documents), _BLOCK):
            rows = np.array([self.row(i) for i in range(start, min(start + _BLOCK, len(self._documents)))])
            found.append(np.where(rows >= at_least, rows, 0.0) @ counts)
        return np.concatenate(found)


def spread(relevance: np.ndarray, likeness: Likeness, diversity: float, k: int) -> list[int]:
    """At most k positions, chosen one by one so that the next differs from those chosen; ties go to the earlier one."""
    chosen: list[int] = []
    nearest = np.zeros(len(relevance))
    left = np.ones(len(relevance), dtype=bool)
    while left.any() and len(chosen) < k:
        worth = np.where(left, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        close = np.flatnonzero(worth >= worth.max() - _TIE)
        # Rounded: sums in another order on another machine must not change a choice. Candidates come most frequent first, then by id.
        best = max(close.tolist(), key=lambda i: (round(float(worth[i]), 9), -i))
        chosen.append(best)
        left[best] = False
        if len(chosen) < k:
            row = likeness.row(best)
            nearest = row if len(chosen) == 1 else np.maximum(nearest, row)
    return chosen
