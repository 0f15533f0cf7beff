"""The inverted index on disk: for each term the documents that hold it, how often, and how long they are.

Built in runs that fit in memory: a run is sorted by term, and the runs, which follow one another in document order, are laid into the final
arrays term by term. Knows nothing of scores.
"""

import itertools
import logging
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envs.base import EnvError
from envs.webshop.store import SortedTexts, TextWriter, open_array, save_array

log = logging.getLogger(__name__)

RUN_POSTINGS = 6_000_000
"""Postings held in memory at a time, 10 bytes each."""
_NO_CODES = 24
"""Lengths below this are kept exact, as in Lucene's `SmallFloat`."""


def length_code(length: int) -> int:
    """The byte that Lucene keeps of a document's length: exact below 24, then a 4-bit float."""
    if length < _NO_CODES:
        return length
    value = length - _NO_CODES
    bits = value.bit_length()
    if bits < 4:
        return _NO_CODES + value
    shift = bits - 4
    return _NO_CODES + (((value >> shift) & 7) | ((shift + 1) << 3))


def code_length(code: int) -> int:
    """The length that a byte stands for."""
    if code < _NO_CODES:
        return code
    code -= _NO_CODES
    shift = (code >> 3) - 1
    return _NO_CODES + ((code & 7) if shift < 0 else ((code & 7) | 8) << shift)


class PostingsWriter:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids: dict[str, int] = {}
        self._counts = np.zeros(0, np.int64)  # documents of each term, of the runs that have ended
        self._pairs: dict[tuple[int, int], int] = {}  # (term frequency, length code) -> number
        self._terms, self._docs, self._held = array("I"), array("I"), array("H")
        self._runs: list[Path] = []
        self.num_docs = self.num_tokens = self.num_docs_with_text = 0

    def add(self, terms: Sequence[str]) -> None:
        """The next document."""
        code = length_code(len(terms))
        held = Counter(terms)
        ids, pairs = self._ids, self._pairs
        numbers = []
        for term in held:
            number = ids.get(term)
            if number is None:
                number = ids[term] = len(ids)
            numbers.append(number)
        of_count = {count: pairs.setdefault((count, code), len(pairs)) for count in set(held.values())}
        if len(pairs) > 1 << 16:
            raise EnvError("the documents' term counts and lengths are too various for this index format")
        self._terms.extend(numbers)
        self._held.extend([of_count[count] for count in held.values()])
        self._docs.extend(itertools.repeat(self.num_docs, len(held)))
        self.num_docs += 1
        self.num_docs_with_text += bool(terms)
        self.num_tokens += len(terms)
        if len(self._terms) >= RUN_POSTINGS:
            self._end_run()

    def close(self) -> None:
        """Write the index and remove the runs."""
        self._end_run()
        names = sorted(self._ids, key=lambda term: term.encode("utf-8", "surrogatepass"))
        writer = TextWriter(self._folder, "terms")
        for name in names:
            writer.add(name)
        writer.close()
        old_ids = np.fromiter((self._ids[name] for name in names), np.int64, len(names))
        rank = np.empty(len(names), np.int64)
        rank[old_ids] = np.arange(len(names))
        counts = self._counts[old_ids].astype(np.uint64)
        starts = np.zeros(len(names) + 1, np.uint64)
        np.cumsum(counts, out=starts[1:])
        save_array(self._folder, "term_starts", starts)
        pairs = np.array(list(self._pairs) or [(0, 0)], np.uint32)
        save_array(self._folder, "pairs", pairs)
        self._merge(rank, starts)

    def _end_run(self) -> None:
        if not self._terms:
            return
        terms = np.frombuffer(self._terms, np.uint32)
        counts = np.bincount(terms, minlength=len(self._ids))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        order = np.argsort(terms, kind="stable")
        path = self._folder / f"run{len(self._runs)}.npz"
        np.savez(
            path,
            terms=terms[order],
            docs=np.frombuffer(self._docs, np.uint32)[order],
            held=np.frombuffer(self._held, np.uint16)[order],
        )
        self._runs.append(path)
        self._terms, self._docs, self._held = array("I"), array("I"), array("H")

    def _merge(self, rank: np.ndarray, starts: np.ndarray) -> None:
        total = int(starts[-1])
        out = {
            name: np.lib.format.open_memmap(
                self._folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(max(1, total),)
            )
            for name, dtype in (("posting_docs", np.uint32), ("posting_pairs", np.uint16))
        }
        filled = starts[:-1].astype(np.int64)
        for path in self._runs:
            with np.load(path) as run:
                terms = rank[run["terms"]]
                order = np.argsort(terms, kind="stable")
                terms = terms[order]
                firsts = np.flatnonzero(np.diff(terms, prepend=-1))
                lengths = np.diff(firsts, append=len(terms))
                within = np.arange(len(terms)) - np.repeat(firsts, lengths)
                at = filled[terms] + within
                out["posting_docs"][at] = run["docs"][order]
                out["posting_pairs"][at] = run["held"][order]
                filled[terms[firsts]] += lengths
            path.unlink()
        for values in out.values():
            values.flush()
        log.info("index: %d documents, %d terms, %d postings", self.num_docs, len(rank), total)


class Postings:
    """The index, mapped."""

    def __init__(self, folder: Path) -> None:
        self._terms = SortedTexts(folder, "terms")
        self._starts = open_array(folder, "term_starts")
        self.docs = open_array(folder, "posting_docs")
        self.pairs = open_array(folder, "posting_pairs")
        self.pair_table = open_array(folder, "pairs")  # [num_pairs, 2]: term frequency, length code

    def span(self, term: str) -> tuple[int, int] | None:
        """Where the term's postings begin and end; None for a term that no document holds."""
        number = self._terms.find(term)
        return None if number is None else (int(self._starts[number]), int(self._starts[number + 1]))
