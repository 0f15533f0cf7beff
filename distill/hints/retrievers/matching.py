"""Rankers that match a task's words with those of the hints. What they differ in is the match alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from actors.trajectory import GivenHint
from distill.hints.hint import Hint
from distill.hints.retrievers.likeness import Likeness, spread
from distill.hints.retrievers.seams import given, query_of
from distill.hints.retrievers.words import content_words, slots
from envs.task import Task

_SAME_ADVICE = 0.5


class Matcher(Protocol):
    """An index of texts."""

    def scores(self, query: str) -> np.ndarray:
        """[num_texts] How well each of them fits."""
        ...


MakeMatcher = Callable[[Sequence[str]], Matcher]


@dataclass(frozen=True, kw_only=True)
class MatchRanker:
    """Match with the task plus a share for being written often, chosen one by one so that the next differs from those chosen (maximal
    marginal relevance, Carbonell and Goldstein 1998).

    Hints speak in slots, so many of them match no word of a task; frequency then decides, and ties go by id.
    """

    matcher: MakeMatcher
    frequency_weight: float
    diversity: float

    def __call__(self, task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
        if not candidates:
            return ()
        index = self._index(tuple(candidates))
        match = index.matcher.scores(query_of(task, opening))
        peak = match.max()
        relevance = (match / peak if peak > 0 else match) + self.frequency_weight * index.frequency
        return given([candidates[i] for i in spread(relevance, index.likeness, self.diversity, k)])

    def _index(self, candidates: tuple[Hint, ...]) -> "_Index":
        key = tuple(hint.id for hint in candidates)
        if key not in self._indexes:
            self._indexes[key] = _Index(candidates, self.matcher)
        return self._indexes[key]

    @cached_property
    def _indexes(self) -> dict[tuple[str, ...], "_Index"]:
        return {}


class _Index:
    """One kind's hints: how they match, how alike they are, and how often their advice was given."""

    def __init__(self, hints: Sequence[Hint], matcher: MakeMatcher):
        self.matcher = matcher([hint.text for hint in hints])
        self.likeness = Likeness([{*content_words(hint.text), *slots(hint.text)} for hint in hints])
        counts = np.array([hint.count for hint in hints], dtype=float)
        # Advice that came in several wordings is as frequent as all of them together.
        support = self.likeness.support(counts, _SAME_ADVICE)
        self.frequency = np.log1p(support) / np.log1p(support.max())
