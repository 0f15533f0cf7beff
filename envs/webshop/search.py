"""Ranking as Lucene's BM25 does it, to the last bit of its single-precision arithmetic. Knows nothing of products but their numbers.

Parameters k1 = 0.9 and b = 0.4, document lengths rounded to a byte, ties broken by the products' ids.
"""

import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from envs.webshop.analysis import terms as analyse
from envs.webshop.postings import Postings, code_length

K1, B = np.float32(0.9), np.float32(0.4)
_ONE = np.float32(1)
_TIE, _SCORE_STEP = np.float32(1e-4), np.float32(1e-6)
_SLACK = 1e-6
"""More than a sum in double precision can be off."""
_KEPT_QUERIES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    start: int
    end: int
    gains: np.ndarray  # [num_pairs] float32, what a posting adds
    most: float


class Searcher:
    """Thread-safe: a search writes nothing but its own arrays."""

    def __init__(
        self,
        postings: Postings,
        ranks: np.ndarray,
        *,
        num_docs: int,
        num_docs_with_text: int,
        num_tokens: int,
    ) -> None:
        """`ranks[doc]` is the document's place among all ids, which breaks ties."""
        self._postings = postings
        self._ranks = ranks
        self._num_docs = num_docs
        self._num_with_text = num_docs_with_text
        average = np.float32(num_tokens / max(1, num_docs_with_text))
        table = postings.pair_table
        lengths = np.array([code_length(code) for code in range(256)], np.float32)[table[:, 1]]
        # Each operation is rounded to single precision, in Lucene's order.
        norms = _ONE / (K1 * ((_ONE - B) + B * lengths / average))
        self._saturation = _ONE + table[:, 0].astype(np.float32) * norms  # [num_pairs]
        self._own = threading.local()
        self._ranked = lru_cache(maxsize=_KEPT_QUERIES)(self._rank)

    def search(self, query: str, limit: int) -> list[tuple[int, float]]:
        """(document, score) of the best `limit` documents, best first; scores as Lucene's front end reports them."""
        return _reported(*self._ranked(query, limit))

    def documents(self, query: str, limit: int) -> tuple[int, ...]:
        """The best documents without their scores."""
        return self._ranked(query, limit)[0]

    def _rank(self, query: str, limit: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        found = self._terms(Counter(analyse(query)))
        docs, scores = self._scored(found, limit)
        singles = scores.astype(np.float32)
        if len(singles) > limit:
            near = singles >= np.partition(singles, len(singles) - limit)[len(singles) - limit]
            docs, singles = docs[near], singles[near]
        order = np.lexsort((self._ranks[docs], -singles))[:limit]
        return tuple(docs[order].tolist()), tuple(singles[order].tolist())

    def _terms(self, counts: Counter[str]) -> list[_Term]:
        """Rarest first."""
        found = []
        for term, count in counts.items():
            span = self._postings.span(term)
            if span is None:
                continue
            df = span[1] - span[0]
            idf = np.float32(math.log(1 + (self._num_with_text - df + 0.5) / (df + 0.5)))
            weight = np.float32(count) * idf
            gains = weight - weight / self._saturation
            found.append(_Term(start=span[0], end=span[1], gains=gains, most=float(gains.max(initial=0))))
        return sorted(found, key=lambda term: term.end - term.start)

    def _scored(self, found: Sequence[_Term], limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Documents that can be among the best `limit`, and their whole scores in double precision.

        Terms are added rarest first. Once what the remaining ones can add at most lifts nobody new over the `limit`-th score so far, only
        those in reach are looked up in their postings.
        """
        if not found:
            return np.zeros(0, np.int64), np.zeros(0)
        sums = self._buffer()
        parts: list[np.ndarray] = []
        left = sum(term.most for term in found)
        try:
            for number, term in enumerate(found):
                docs = self._postings.docs[term.start : term.end]
                if number and len(docs) > 4 * limit and sum(map(len, parts)) > limit:
                    seen = np.concatenate(parts)
                    partial = sums[seen]
                    bar = float(np.partition(partial, len(partial) - limit)[len(partial) - limit])
                    # Whoever has none of the terms so far gets at most what is left.
                    if left < bar:
                        near = seen[partial + left >= bar - _SLACK]
                        return self._finished(near, sums, found[number:])
                # Every gain is positive: who stands at nought was not met before.
                before = sums[docs]
                parts.append(docs[before == 0])
                sums[docs] = before + term.gains[self._postings.pairs[term.start : term.end]]
                left -= term.most
            seen = np.concatenate(parts)
            return seen.astype(np.int64), sums[seen]
        finally:
            for part in parts:
                sums[part] = 0

    def _buffer(self) -> np.ndarray:
        """Noughts, one for each document: a thread's own, and left as noughts; making them anew would cost more than most searches."""
        sums = getattr(self._own, "sums", None)
        if sums is None:
            sums = self._own.sums = np.zeros(self._num_docs)
        return sums

    def _finished(
        self, near: np.ndarray, sums: np.ndarray, rest: Sequence[_Term]
    ) -> tuple[np.ndarray, np.ndarray]:
        near = np.sort(near)
        scores = sums[near]
        for term in rest:
            docs = self._postings.docs[term.start : term.end]
            at = np.minimum(np.searchsorted(docs, near), len(docs) - 1)
            held = docs[at] == near
            scores[held] += term.gains[self._postings.pairs[term.start + at[held]]]
        return near.astype(np.int64), scores


def _reported(docs: Sequence[int], scores: Sequence[float]) -> list[tuple[int, float]]:
    """Scores to four places; one that is not over a ten-thousandth below its forerunner is lowered by a further millionth."""
    shown = []
    last, ties = np.float32(math.inf), 0
    for doc, score in zip(docs, scores, strict=True):
        rounded = np.float32(math.floor(score * 1e4 + 0.5) / 1e4)
        ties = 0 if last - rounded > _TIE else ties + 1
        last = rounded - _SCORE_STEP * np.float32(ties)
        shown.append((doc, float(last)))
    return shown
