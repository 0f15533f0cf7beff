"""Text to index terms, as Lucene's English analysis does it: words, possessives, lower case, stop words, stems."""

from functools import lru_cache

from envs.webshop.stemmer import stem
from envs.webshop.words import words

STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was will with".split()
)
_APOSTROPHES = "'\u2019\uff07"


def terms(text: str) -> list[str]:
    """Every term of `text` in order, repeats kept."""
    return [term for word in words(text) if (term := term_of(word)) is not None]


@lru_cache(maxsize=1 << 18)
def term_of(word: str) -> str | None:
    """The term of one word; None for a stop word."""
    if len(word) >= 2 and word[-1] in "sS" and word[-2] in _APOSTROPHES:
        word = word[:-2]
    word = word.lower() if word.isascii() else "".join(map(_lower, word))
    if word in STOP_WORDS:
        return None
    if word.isascii() or max(word) <= "\uffff":
        return stem(word)
    # The stemmer counts UTF-16 units, of which such characters have two.
    units = word.encode("utf-16-le").decode("utf-16-le", "surrogatepass")
    return stem(units).encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _lower(character: str) -> str:
    """Lower case of one character by itself; the few that would become two keep the first."""
    return character.lower()[:1]
