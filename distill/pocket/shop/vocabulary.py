"""The words of a made-up shop as the pocket shopper reads them: what can be bought, its options, prices and codes. Knows no tokenizer."""

import re
from collections.abc import Iterable, Iterator

from distill.pocket.vocabulary import STATE_PHRASES, Name, Vocabulary
from envs.webshop.assortment import BRAND_ENDS, BRAND_STARTS, KINDS, PRAISE, PURPOSES

_PHRASES = (
    "WebShop\nInstruction:\n",
    "\n[Search]",
    "i am looking for",
    "i need",
    "find me",
    "show me",
    "i would like to buy",
    "my friend wants",
    " that is",
    " which is",
    " with",
    ", it should be",
    ", and it has to be",
    ", in",
    " and",
    ", and price lower than",
    " dollars",
    "[Back to Search]\nPage",
    " (Total results:",
    ")\n[Next >]\n[",
    ")\n[",
    "[Back to Search]\n[< Prev]\n",
    "][",
    "]\n",
    "\n[",
    " [",
    "\n$",
    " to $",
    "\nPrice: $",
    "\nRating: N.A.\n[Description]\n[Features]\n[Reviews]\n[Buy Now]",
    ", for",
    "You have clicked",
    ".\nChosen:",
    "Thank you for shopping with us!\nYour score (min 0.0, max 1.0):",
    "Invalid action!",
    "OK.",
    "think:",
    " I need",
    ". I mind the price.",
    ". Any price will do.",
    " I check each page.",
    " I keep the first page.",
    " I choose before I buy.",
    " I buy at once.",
    "search[",
    "click[",
    "click[Buy Now]",
    "click[< Prev]",
    "]",
    ",",
    "\n- ",
    "\n\n",
)
_TITLE_STARTS = "|".join(BRAND_STARTS)
_TITLE_ENDS = "|".join(sorted(BRAND_ENDS, key=lambda e: (-len(e), e)))


def _things() -> Iterator[tuple[str, str]]:
    """(as written, what is shared) of nouns, attributes, option names and values, brands and purposes."""
    for kind in KINDS:
        for noun in kind.nouns:
            yield from ((form, noun.lower()) for form in (noun, noun.lower()))
        for attribute in kind.attributes:
            yield from ((form, attribute) for form in (attribute, attribute.title(), attribute.capitalize()))
        for name, values in kind.options.items():
            yield name, name
            yield from ((value, value) for value in values)
    yield from ((word, word.lower()) for word in (*PRAISE, *PURPOSES))


def _spelled() -> Iterator[Name]:
    for text, word in _things():
        yield Name(f" {text}", word)
        yield Name(text, word)


def _numbers() -> Iterator[Name]:
    """Prices and limits share their tens and their ones, codes their letters."""
    yield from (_number("", number) for number in range(1000))
    yield from (_number(" ", number) for number in (*range(51), *range(60, 1000, 10)))
    yield from (Name(f".{digits}", "cents") for digits in (*_two_digits(), *map(str, range(10))))
    signs = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    yield Name("G0", "code")
    yield from (Name(a + b, f"code {a}", n + 11) for a in signs for n, b in enumerate(signs))


def _number(before: str, number: int) -> Name:
    return Name(f"{before}{number}", f"tens {number // 10}", number % 10 + 1)


def _two_digits() -> Iterator[str]:
    return (f"{number:02d}" for number in range(100))


def _alternatives(texts: Iterable[str]) -> str:
    return "|".join(re.escape(text) for text in sorted(set(texts), key=lambda t: (-len(t), t)))


SHOP = Vocabulary(
    phrases=_PHRASES,
    pattern="|".join(
        (
            rf"(?:{_TITLE_STARTS})(?=(?:{_TITLE_ENDS})(?![A-Za-z]))",
            rf" ?(?:{_alternatives(text for text, _ in _things())})(?![A-Za-z0-9-]|\.[0-9])",
            rf"(?:{_TITLE_ENDS})(?![A-Za-z])",
            r"G0(?=[0-9A-Z]{8}(?![0-9A-Za-z]))",
            r"(?:(?<=\$)| )[0-9]{1,3}(?![0-9A-Za-z])",
            r"\.[0-9]{1,2}(?![0-9A-Za-z])",
            r"[0-9A-Z]{2}(?=(?:[0-9A-Z]{2}){0,3}(?![0-9A-Za-z]))",
        )
    ),
    names=(
        *dict.fromkeys((*_spelled(), *_numbers())),
        *(Name(start, f"brand {start}") for start in BRAND_STARTS),
        *(Name(end, f"brand {end}") for end in BRAND_ENDS),
    ),
)
"""A value, an attribute, a noun is one token wherever it stands, a code five of them."""
SHOP_STATEACT = SHOP.with_phrases(
    *STATE_PHRASES,
    "\ncurrent location:",
    "\ncurrent selection:",
    " search page",
    " results page",
    " item page ",
)
