"""Controls: what a retriever must beat, and hint blocks of which one property is taken away. None of them looks at a task's outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from actors.trajectory import GivenHint
from distill.hints.bank import Bank, near_duplicate
from distill.hints.hint import Hint, normalise
from distill.hints.retrievers.seams import Ranker, given, seeded
from distill.hints.retrievers.words import content_words
from envs.task import Task

GUARD_TEXT = "(no advice for this task)"
"""What the guard control shows under the header of the hint block."""
_NEAR = 85.0
_SAME_WORDS = 0.5


def frequent(task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
    """The kind's most frequent hints, whatever the task: what a retriever must beat."""
    return given(candidates[:k])


def no_hints(task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
    return ()


def guard(task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
    """The hint block's own words and no advice: tells the block from what it says."""
    return (GivenHint(id="guard", text=GUARD_TEXT),)


@dataclass(frozen=True, kw_only=True)
class RandomRanker:
    """Any of the kind's hints."""

    seed: int

    def __call__(self, task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
        return _draw(candidates, task, k, self.seed)


@dataclass(frozen=True, kw_only=True)
class ShuffledRanker:
    """What another ranker gives with its words in random order: the same tokens, no sense."""

    best: Ranker
    seed: int

    def __call__(self, task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
        shuffled = []
        for hint in self.best(task, opening, candidates, k):
            words = hint.text.split()
            seeded(task, self.seed, hint.id).shuffle(words)
            shuffled.append(GivenHint(id=f"{hint.id}-shuffled", text=" ".join(words)))
        return tuple(shuffled)


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
            own = [_Advice(hint.text) for hint in self.bank.for_kind(kind)]
            foreign: dict[str, Hint] = {}
            for hint in self.bank.hints:
                if hint.kind != kind and normalise(hint.text) not in foreign:
                    advice = _Advice(hint.text)
                    if not any(advice.is_that_of(other) for other in own):
                        foreign[normalise(hint.text)] = hint
            self._cache[kind] = tuple(foreign.values())
        return self._cache[kind]

    @cached_property
    def _cache(self) -> dict[str, tuple[Hint, ...]]:
        return {}


class _Advice:
    """A text with its words, which are compared with those of every hint of a kind."""

    def __init__(self, text: str):
        self.text, self.words = text, frozenset(content_words(text))

    def is_that_of(self, other: "_Advice") -> bool:
        """Alike in the words that say something, or in letters."""
        shorter = min(len(self.words), len(other.words))
        if shorter > 0 and len(self.words & other.words) >= _SAME_WORDS * shorter:
            return True
        return near_duplicate(self.text, other.text, _NEAR)


def _draw(candidates: Sequence[Hint], task: Task, k: int, seed: int) -> tuple[GivenHint, ...]:
    ordered = sorted(candidates, key=lambda hint: hint.id)
    return given(seeded(task, seed).sample(ordered, min(k, len(ordered))))
