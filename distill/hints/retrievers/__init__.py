"""Which hints of the bank an episode starts with: one retrieval at its start, by the task and the opening alone.

Every retriever is deterministic in (task, seed), gives no hint twice, ranks all candidates, and never looks at a task's outcome.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
from distill.hints.retrievers.embedding import Embedding, Encoder
from distill.hints.retrievers.filler import CountTokens, FillerRanker, count_words
from distill.hints.retrievers.llm import LlmRetriever, RankingModel, Retrieval, RetrievalError
from distill.hints.retrievers.lsa import Lsa
from distill.hints.retrievers.matching import MakeMatcher, MatchRanker
from distill.hints.retrievers.oracle import GoldPlan, OracleRetriever, uses_oracle
from distill.hints.retrievers.seams import KindRetriever, Ranker, Retriever
from distill.hints.retrievers.tfidf import TfIdf
from envs.task import Task

__all__ = [
    "GUARD_TEXT",
    "Aids",
    "KindRetriever",
    "Ranker",
    "RankingModel",
    "Retrieval",
    "RetrievalError",
    "Retriever",
    "make_retriever",
    "retrieve_all",
    "uses_oracle",
]


@dataclass(frozen=True, kw_only=True)
class Aids:
    """What some retrievers need from outside; the others leave it alone."""

    count_tokens: CountTokens = count_words
    """The playing model's, for `filler`."""
    gold_plan: GoldPlan | None = None
    """The environment's, for `oracle`."""
    model: RankingModel | None = None
    """For `llm`."""


def retrieve_all(
    config: RetrieverConfig, bank: Bank, openings: Mapping[Task, str], aids: Aids = Aids()
) -> dict[Task, Retrieval]:
    """What every task is given at its start, and what choosing it cost. Asks a model about many tasks at a time."""
    if config.name == "llm":
        return asyncio.run(_ask_about_all(config, bank, openings, aids))
    retriever = make_retriever(config, bank, aids)
    return {task: Retrieval(hints=retriever(task, opening)) for task, opening in openings.items()}


def make_retriever(config: RetrieverConfig, bank: Bank, aids: Aids = Aids()) -> Retriever:
    """The configured retriever over a bank; an empty bank is an error unless nothing is taken from it."""
    if config.name not in ("none", "guard", "oracle"):
        bank.require_hints()
    if config.name == "llm":
        raise ValueError("retriever 'llm' asks a model about many tasks at a time; call retrieve_all")
    if config.name == "oracle":
        if aids.gold_plan is None:
            raise ValueError("retriever 'oracle' needs the environment's gold plans; pass aids.gold_plan")
        return OracleRetriever(gold_plan=aids.gold_plan)
    if config.name == "other_kind":
        return OtherKindRetriever(bank=bank, k=config.k, seed=config.seed)
    return KindRetriever(bank=bank, rank=_RANKERS[config.name](config, aids), k=config.k)


async def _ask_about_all(
    config: RetrieverConfig, bank: Bank, openings: Mapping[Task, str], aids: Aids
) -> dict[Task, Retrieval]:
    bank.require_hints()
    if aids.model is None:
        raise ValueError("retriever 'llm' needs a model to ask; pass aids.model")
    retriever = LlmRetriever(bank, aids.model, config.llm, k=config.k, fallback=_bm25(config, aids))
    try:
        async with asyncio.TaskGroup() as group:
            asked = {task: group.create_task(retriever(task, opening)) for task, opening in openings.items()}
    except ExceptionGroup as errors:
        # A model that fails at one task fails at most: nothing more is asked, and what was answered is kept for a second start.
        raise errors.exceptions[0] from None
    return {task: answer.result() for task, answer in asked.items()}


MakeRanker = Callable[[RetrieverConfig, Aids], Ranker]


def _matching(matcher: MakeMatcher) -> MakeRanker:
    return lambda config, aids: MatchRanker(
        matcher=matcher, frequency_weight=config.frequency_weight, diversity=config.diversity
    )


def _embedding(config: RetrieverConfig, aids: Aids) -> Ranker:
    assert config.embedding_model is not None
    embed = Encoder(config.embedding_model)

    def matcher(texts: Sequence[str]) -> Embedding:
        return Embedding(texts, embed)

    return _matching(matcher)(config, aids)


def _filler(config: RetrieverConfig, aids: Aids) -> Ranker:
    return FillerRanker(best=_bm25(config, aids), seed=config.seed, count_tokens=aids.count_tokens)


_bm25 = _matching(Bm25)
_RANKERS: Mapping[str, MakeRanker] = {
    "bm25": _bm25,
    "tfidf": _matching(TfIdf),
    "lsa": _matching(Lsa),
    "embedding": _embedding,
    "frequent": lambda config, aids: frequent,
    "none": lambda config, aids: no_hints,
    "guard": lambda config, aids: guard,
    "random": lambda config, aids: RandomRanker(seed=config.seed),
    "shuffled": lambda config, aids: ShuffledRanker(best=_bm25(config, aids), seed=config.seed),
    "filler": _filler,
}
