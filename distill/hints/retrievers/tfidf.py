"""Cosine of tf-idf vectors over hint texts: the plainest match there is."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from distill.hints.retrievers.words import content_words

Terms = Sequence[Sequence[str]]


class TfIdf:
    def __init__(self, texts: Sequence[str]):
        documents = [content_words(text) for text in texts]
        self._space = TermSpace(documents)
        self._rows = self._space.rows(documents)

    def scores(self, query: str) -> np.ndarray:
        return (self._rows @ self._space.rows([content_words(query)]).T).toarray()[:, 0]


class TermSpace:
    """Terms of a set of documents with their weights: 1 + log of a term's count, times the log of how rare it is."""

    def __init__(self, documents: Terms):
        held_in = Counter(term for document in documents for term in set(document))
        self._column = {term: number for number, term in enumerate(sorted(held_in))}
        rare = [np.log((1 + len(documents)) / (1 + held_in[term])) + 1 for term in self._column]
        self._rarity = np.array(rare)

    def rows(self, documents: Terms) -> csr_array:
        """[num_documents, num_terms] of length 1, or of length 0 where no term is known."""
        values: list[np.ndarray] = []
        columns: list[int] = []
        ends = [0]
        for document in documents:
            counts = Counter(self._column[term] for term in document if term in self._column)
            weights = np.array([(1 + np.log(n)) * self._rarity[column] for column, n in counts.items()])
            values.append(weights / max(float(np.linalg.norm(weights)), 1e-12))
            columns += counts
            ends.append(len(columns))
        return csr_array((np.concatenate(values), columns, ends), shape=(len(documents), len(self._column)))
