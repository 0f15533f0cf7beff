"""BM25 over hint texts."""

import logging
from collections.abc import Sequence

import numpy as np

from distill.hints.retrievers.words import content_words


class Bm25:
    def __init__(self, texts: Sequence[str]):
        documents = [content_words(text) for text in texts]
        self._num_texts = len(texts)
        self._vocabulary = set().union(*documents)
        self._retriever = None
        if self._vocabulary:
            import bm25s

            # It announces every index, and an index here is a few dozen hints.
            logging.getLogger("bm25s").setLevel(logging.WARNING)
            self._retriever = bm25s.BM25()
            self._retriever.index(documents, show_progress=False)

    def scores(self, query: str) -> np.ndarray:
        words = [word for word in dict.fromkeys(content_words(query)) if word in self._vocabulary]
        if self._retriever is None or not words:
            return np.zeros(self._num_texts)
        return np.asarray(self._retriever.get_scores(words), dtype=float)
