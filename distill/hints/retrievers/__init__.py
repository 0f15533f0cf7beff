"""Which hints of the bank an episode starts with: one retrieval at its start, by the task and the opening alone.

Every retriever is deterministic in (task, seed), gives no hint twice, ranks all candidates, and never looks at a task's outcome.
"""

from collections.abc import Callable

from distill.hints.bank import Bank
from distill.hints.config import RetrieverConfig
from distill.hints.retrievers.bm25 import Bm25
from distill.hints.retrievers.controls import (
    GUARD_TEXT,
    OtherKindRetriever,
    RandomRanker,
    ShuffledRanker,
    frequent,
    guard,
    no_hints,
)
from distill.hints.retrievers.matching import MakeMatcher, MatchRanker
from distill.hints.retrievers.seams import KindRetriever, Ranker, Retriever
from distill.hints.retrievers.tfidf import TfIdf

__all__ = ["GUARD_TEXT", "KindRetriever", "Ranker", "Retriever", "make_retriever"]


def make_retriever(config: RetrieverConfig, bank: Bank) -> Retriever:
    """The configured retriever over a bank; an empty bank is an error unless no hint is asked for."""
    if config.name not in ("none", "guard"):
        bank.require_hints()
    if config.name == "other_kind":
        return OtherKindRetriever(bank=bank, k=config.k, seed=config.seed)
    return KindRetriever(bank=bank, rank=_RANKERS[config.name](config), k=config.k)


def _matching(matcher: MakeMatcher) -> Callable[[RetrieverConfig], Ranker]:
    return lambda config: MatchRanker(
        matcher=matcher, frequency_weight=config.frequency_weight, diversity=config.diversity
    )


_bm25 = _matching(Bm25)
_RANKERS: dict[str, Callable[[RetrieverConfig], Ranker]] = {
    "bm25": _bm25,
    "tfidf": _matching(TfIdf),
    "frequent": lambda config: frequent,
    "none": lambda config: no_hints,
    "guard": lambda config: guard,
    "random": lambda config: RandomRanker(seed=config.seed),
    "shuffled": lambda config: ShuffledRanker(best=_bm25(config), seed=config.seed),
}
