"""The nouns of a title, which the reward counts. Tagged once, when a catalogue is built; playing needs no tagger.

The original asks spaCy's `en_core_web_sm`. Where that is not installed, the titles of the 1,000-product setting come with what spaCy 3.8 said
of them (as places in the title, no text), and other titles are read by a rule: `docs/webshop.md` says how often it differs.
"""

import hashlib
import json
import lzma
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

MODEL = "en_core_web_sm"
RECORDED = Path(__file__).with_name("nouns.json.xz")
_PIECE = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_POSSESSIVE = re.compile(r"['’]s$", re.IGNORECASE)
_NEVER_NOUNS = Path(__file__).with_name("not_nouns.txt")


class NounTagger(Protocol):
    name: str
    """What the manifest says of it."""

    def nouns(self, titles: Iterable[str]) -> Iterator[list[str]]:
        """The nouns of each title in order, lower case, repeats kept."""
        ...


def open_tagger(name: str = "auto") -> NounTagger:
    """`spacy`, `rule`, or `auto`: spaCy where it and its model are installed, else recorded places and the rule.

    Raises:
        ValueError: spaCy is asked for and not installed.
    """
    if name == "rule":
        return RuleTagger()
    # Looked for before it is imported: that takes seconds, for nothing where the model is missing.
    if find_spec("spacy") and find_spec(MODEL):
        with suppress(OSError):  # spaCy's word for a model that it cannot read
            return SpacyTagger()
    if name == "spacy":
        raise ValueError(
            f"spaCy or its model {MODEL} is not installed; install both or build with --nouns auto"
        )
    return RecordedTagger()


class SpacyTagger:
    def __init__(self) -> None:
        import spacy

        self._model = spacy.load(MODEL, exclude=["ner", "parser", "lemmatizer"])
        self.name = f"spacy {spacy.__version__} {MODEL} {self._model.meta['version']}"

    def nouns(self, titles: Iterable[str]) -> Iterator[list[str]]:
        for read in self._model.pipe(titles, batch_size=256):
            yield [token.text.lower() for token in read if token.pos_ in ("NOUN", "PROPN")]


class RuleTagger:
    """Every word is a noun that is no number, no function word, and not known as an adjective, verb or adverb of titles."""

    name = "rule 1"

    def nouns(self, titles: Iterable[str]) -> Iterator[list[str]]:
        return map(rule_nouns, titles)


class RecordedTagger:
    """spaCy's own word where it is recorded, else the rule's."""

    name = "recorded spacy 3.8.18 en_core_web_sm 3.8.0, else rule 1"

    def nouns(self, titles: Iterable[str]) -> Iterator[list[str]]:
        for title in titles:
            places = _recorded().get(title_key(title))
            if places is None:
                yield rule_nouns(title)
            else:
                yield [title[start : start + length].lower() for start, length in places]


def rule_nouns(title: str, never: frozenset[str] | None = None) -> list[str]:
    """`never` takes the place of the shipped list."""
    never = shipped_never_nouns() if never is None else never
    found = (_POSSESSIVE.sub("", piece.group()).lower() for piece in _PIECE.finditer(title))
    return [word for word in found if len(word) > 1 and word not in never]


def title_key(title: str) -> str:
    return hashlib.sha256(title.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@cache
def _recorded() -> dict[str, list[tuple[int, int]]]:
    """Title key -> (start, length) of each noun; stored as gaps and lengths in turn."""
    with lzma.open(RECORDED, "rt", encoding="ascii") as stream:
        rows = json.load(stream)
    places = {}
    for key, numbers in rows.items():
        at, spans = 0, []
        for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
            spans.append((at + gap, length))
            at += gap + length
        places[key] = spans
    return places


@cache
def shipped_never_nouns() -> frozenset[str]:
    return frozenset(_NEVER_NOUNS.read_text(encoding="utf-8").split())
