"""Which hints of the bank an episode starts with: one retrieval at its start, by the task and the opening alone.

Every retriever is deterministic in (task, seed), gives no hint twice, and never looks at a task's outcome.
"""

import hashlib
import logging
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from actors.trajectory import GivenHint
from distill.hints.bank import Bank, near_duplicate
from distill.hints.config import RetrieverConfig
from distill.hints.hint import Hint, normalise
from envs.task import Task

GUARD_TEXT = "(no advice for this task)"
"""What the guard control shows under the header of the hint block."""
_NEAR = 85.0
_SAME_ADVICE = 0.5
_SAME_WORDS = 0.5


class Retriever(Protocol):
    def __call__(self, task: Task, opening: str) -> tuple[GivenHint, ...]: ...


class Ranker(Protocol):
    """Orders a kind's candidates for a task; decides which and how many are given."""

    def __call__(
        self, task: Task, opening: str, candidates: Sequence[Hint], k: int
    ) -> tuple[GivenHint, ...]: ...


@dataclass(frozen=True, kw_only=True)
class KindRetriever:
    """Candidates are the hints of the task's kind; the ranker chooses."""

    bank: Bank
    rank: Ranker
    k: int

    def __call__(self, task: Task, opening: str) -> tuple[GivenHint, ...]:
        return self.rank(task, opening, self.bank.for_kind(task.kind), self.k)


@dataclass(frozen=True, kw_only=True)
class OtherKindRetriever:
    """Random advice of other kinds that this kind's own hints do not give, near-duplicates included: more prompt, no knowledge."""

    bank: Bank
    k: int
    seed: int

    def __call__(self, task: Task, opening: str) -> tuple[GivenHint, ...]:
        return _draw(self._foreign(task.kind), task, self.k, self.seed)

    def _foreign(self, kind: str) -> tuple[Hint, ...]:
        if kind not in self._cache:
            own = [hint.text for hint in self.bank.for_kind(kind)]
            foreign: dict[str, Hint] = {}
            for hint in self.bank.hints:
                if hint.kind != kind and not any(_same_advice(hint.text, text) for text in own):
                    foreign.setdefault(normalise(hint.text), hint)
            self._cache[kind] = tuple(foreign.values())
        return self._cache[kind]

    @cached_property
    def _cache(self) -> dict[str, tuple[Hint, ...]]:
        return {}


@dataclass(frozen=True, kw_only=True)
class Bm25Ranker:
    """Match with the task (BM25 over hint texts) plus a share for being written often, chosen one by one so that the next differs
    from those chosen (maximal marginal relevance, Carbonell and Goldstein 1998).

    Hints speak in slots, so many of them match no word of a task; frequency then decides, and ties go by id.
    """

    frequency_weight: float
    diversity: float

    def __call__(self, task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
        if not candidates:
            return ()
        index = self._index(tuple(candidates))
        match = index.scores(_words(f"{task.goal} {opening}"))
        peak = match.max()
        relevance = (match / peak if peak > 0 else match) + self.frequency_weight * index.frequency
        return _given([candidates[i] for i in _spread(relevance, index.likeness, self.diversity, k)])

    def _index(self, candidates: tuple[Hint, ...]) -> "_Index":
        key = tuple(hint.id for hint in candidates)
        if key not in self._indexes:
            self._indexes[key] = _Index(candidates)
        return self._indexes[key]

    @cached_property
    def _indexes(self) -> dict[tuple[str, ...], "_Index"]:
        return {}


def frequent(task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
    """The kind's most frequent hints, whatever the task: what a retriever must beat."""
    return _given(candidates[:k])


def no_hints(task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
    return ()


def guard(task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
    """The hint block's own words and no advice: tells the block from what it says."""
    return (GivenHint(id="guard", text=GUARD_TEXT),)


def make_retriever(config: RetrieverConfig, bank: Bank) -> Retriever:
    """The configured retriever over a bank; an empty bank is an error unless no hint is asked for."""
    if config.name not in ("none", "guard"):
        bank.require_hints()
    if config.name == "other_kind":
        return OtherKindRetriever(bank=bank, k=config.k, seed=config.seed)
    return KindRetriever(bank=bank, rank=_RANKERS[config.name](config), k=config.k)


def _random(config: RetrieverConfig) -> Ranker:
    def rank(task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
        return _draw(candidates, task, k, config.seed)

    return rank


def _shuffled(config: RetrieverConfig) -> Ranker:
    """What BM25 gives with its words in random order: the same tokens, no sense."""
    best = _bm25(config)

    def rank(task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
        given = []
        for hint in best(task, opening, candidates, k):
            words = hint.text.split()
            _seeded(task, config.seed, hint.id).shuffle(words)
            given.append(GivenHint(id=f"{hint.id}-shuffled", text=" ".join(words)))
        return tuple(given)

    return rank


def _bm25(config: RetrieverConfig) -> Ranker:
    return Bm25Ranker(frequency_weight=config.frequency_weight, diversity=config.diversity)


_RANKERS: dict[str, Callable[[RetrieverConfig], Ranker]] = {
    "bm25": _bm25,
    "frequent": lambda config: frequent,
    "none": lambda config: no_hints,
    "guard": lambda config: guard,
    "random": _random,
    "shuffled": _shuffled,
}


class _Index:
    """BM25 over one kind's hint texts, how alike they are, and how often their advice was given."""

    def __init__(self, hints: Sequence[Hint]):
        self._documents = [_words(hint.text) for hint in hints]
        self._vocabulary = set().union(*self._documents)
        self._retriever = None
        if self._vocabulary:
            import bm25s

            # It announces every index, and an index here is a few dozen hints.
            logging.getLogger("bm25s").setLevel(logging.WARNING)
            self._retriever = bm25s.BM25()
            self._retriever.index(self._documents, show_progress=False)
        self.likeness = _likeness(
            [set(document + _slots(hint.text)) for document, hint in zip(self._documents, hints, strict=True)]
        )
        counts = np.array([hint.count for hint in hints], dtype=float)
        # Advice that came in several wordings is as frequent as all of them together.
        support = np.where(self.likeness >= _SAME_ADVICE, self.likeness, 0.0) @ counts
        self.frequency = np.log1p(support) / np.log1p(support.max())

    def scores(self, query: Sequence[str]) -> np.ndarray:
        words = [word for word in dict.fromkeys(query) if word in self._vocabulary]
        if self._retriever is None or not words:
            return np.zeros(len(self._documents))
        return np.asarray(self._retriever.get_scores(words), dtype=float)


def _likeness(documents: Sequence[set[str]]) -> np.ndarray:
    """[num_hints, num_hints] Shared words over those of the shorter hint, rare words weighing more."""
    held_in = Counter(word for document in documents for word in document)
    weight = {word: math.log(1 + len(documents) / count) for word, count in held_in.items()}
    total = [sum(weight[word] for word in sorted(document)) for document in documents]
    rows = [
        [
            sum(weight[word] for word in sorted(a & b)) / max(min(total[i], total[j]), 1e-9)
            for j, b in enumerate(documents)
        ]
        for i, a in enumerate(documents)
    ]
    return np.array(rows)


# Words of advice in general: they make two hints look alike and a task look matched, and tell nothing apart.
_STOP = frozenset(
    "a an the and or of to in on at it its is are be you your that this these those with for from by as if when then before after first only every "
    "each any all do not never no one into them they there has have had task look see place places thing things put middle room around quickly".split()
)


def _words(text: str) -> list[str]:
    """Content words, cut to a rough stem; slots and numbers are no words."""
    plain = re.sub(r"\{[^{}]*\}|\d+", " ", text.lower())
    return [_stem(word) for word in re.findall(r"[a-z]+", plain) if word not in _STOP]


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def _same_advice(a: str, b: str) -> bool:
    """Alike in letters, or in the words that say something."""
    words_a, words_b = set(_words(a)), set(_words(b))
    shorter = min(len(words_a), len(words_b))
    return near_duplicate(a, b, _NEAR) or (shorter > 0 and len(words_a & words_b) >= _SAME_WORDS * shorter)


def _slots(text: str) -> list[str]:
    return re.findall(r"\{[^{}]*\}", text.lower())


def _spread(relevance: np.ndarray, likeness: np.ndarray, diversity: float, k: int) -> list[int]:
    chosen: list[int] = []
    left = list(range(len(relevance)))
    while left and len(chosen) < k:
        nearest = {i: max((likeness[i, j] for j in chosen), default=0.0) for i in left}
        # Rounded: sums in another order on another machine must not change a choice. Candidates come most frequent first, then by id.
        best = max(
            left, key=lambda i: (round(float((1 - diversity) * relevance[i] - diversity * nearest[i]), 9), -i)
        )
        chosen.append(best)
        left.remove(best)
    return chosen


def _draw(candidates: Sequence[Hint], task: Task, k: int, seed: int) -> tuple[GivenHint, ...]:
    ordered = sorted(candidates, key=lambda hint: hint.id)
    return _given(_seeded(task, seed).sample(ordered, min(k, len(ordered))))


def _seeded(task: Task, seed: int, salt: str = "") -> random.Random:
    digest = hashlib.sha256(f"{task.key}|{seed}|{salt}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def _given(hints: Sequence[Hint]) -> tuple[GivenHint, ...]:
    return tuple(GivenHint(id=hint.id, text=hint.text) for hint in hints)
