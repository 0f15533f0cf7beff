"""Latent semantic analysis of character n-grams: a match that needs no download and knows no language.

Texts become tf-idf vectors of hashed n-grams of their words, and a truncated singular value decomposition of one kind's hints folds what
occurs together into one direction. It sees spelling and company ("refrigerate" near "refrigerator"), not meaning.
"""

import re
import zlib
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from distill.hints.retrievers.tfidf import TermSpace

_SIZES = (3, 4, 5)
_BUCKETS = 4096
_RANK = 64
_DIGITS = 6
"""Of a score: what is beyond differs from machine to machine."""


class Lsa:
    def __init__(self, texts: Sequence[str]):
        documents = [ngrams(text) for text in texts]
        self._space = TermSpace(documents)
        rows = self._space.rows(documents)
        self._directions = _directions(rows)
        self._texts = _unit(rows @ self._directions)

    def scores(self, query: str) -> np.ndarray:
        folded = _unit(self._space.rows([ngrams(query)]) @ self._directions)
        return np.round((self._texts @ folded.T)[:, 0], _DIGITS)


def ngrams(text: str) -> list[str]:
    """Names of the buckets of a text's character n-grams, each word with its borders; slots and numbers are left out."""
    plain = re.sub(r"\{[^{}]*\}|\d+", " ", text.lower())
    words = [f" {word} " for word in re.findall(r"[a-z]+", plain)]
    grams = (word[at : at + size] for word in words for size in _SIZES for at in range(len(word) - size + 1))
    return [str(zlib.crc32(gram.encode()) % _BUCKETS) for gram in grams]


def _directions(rows: csr_array) -> np.ndarray:
    """[num_terms, rank] The leading right singular vectors."""
    num_rows, num_terms = rows.shape
    if min(num_rows, num_terms) <= 2 * _RANK:
        _, _, found = np.linalg.svd(rows.toarray(), full_matrices=False)
        return found[:_RANK].T
    # A start of its own choice would differ from run to run.
    _, _, found = svds(rows, k=_RANK, v0=np.ones(min(num_rows, num_terms)))
    return found.T


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
