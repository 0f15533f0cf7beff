"""A small grammar of advice: `(a|b|c)` is a choice, `(a)?` may be left out, `<slot>` is a name that its user fills in. Knows no environment."""

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

_LEADS = (
    "",
    "",
    "",
    "",
    "",
    "Remember: ",
    "Tip: ",
    "In such tasks, ",
    "Always ",
    "Important: ",
    "Note: ",
    "Please ",
    "For this kind of task: ",
    "As a rule, ",
)
_TAILS = (
    "",
    "",
    "",
    "",
    "",
    "",
    " every time",
    " from the start",
    " whenever possible",
    " in this kind of task",
    " to solve the task",
)
_STOPS = (".", ".", ".", "", "!")
_MAX_LENGTH = 130

_CHOICE = re.compile(r"\(([^()]*)\)")
_OPTIONAL = re.compile(r"\(([^()|]*)\)\?")
_SLOT = re.compile(r"<(\w+)>")


def worded(
    rng: random.Random, patterns: Sequence[str], fill_slots: Callable[[str], str], *, plain: bool = False
) -> str:
    """One sentence of one of the patterns, at most 130 characters; `plain` leaves out the words that may stand before and after it."""
    while True:
        text = fill_slots(_choose(rng, rng.choice(patterns)))
        lead = "" if plain else rng.choice(_LEADS)
        if lead:
            text = lead + text[0].lower() + text[1:]
        text = " ".join(f"{text}{'' if plain else rng.choice(_TAILS)}".split()) + rng.choice(_STOPS)
        if len(text) <= _MAX_LENGTH:
            return text


def words_in(texts: Iterable[str]) -> set[str]:
    """The words of advice as they stand in a list of hints, with their leading blanks."""
    return {word for text in texts for word in re.findall(r" ?[A-Za-z]+", f"\n- {text}")}


def fill(text: str, chosen: Mapping[str, str]) -> str:
    """The text with every slot's name put in."""
    return _SLOT.sub(lambda match: chosen[match[1]], text)


def _choose(rng: random.Random, pattern: str) -> str:
    pattern = _OPTIONAL.sub(lambda m: m[1] if rng.random() < 0.5 else "", pattern)
    while match := _CHOICE.search(pattern):
        pattern = pattern[: match.start()] + rng.choice(match[1].split("|")) + pattern[match.end() :]
    return pattern


_OTHER_WORDS = (
    "carefully often then while thing where also once everything later other same next step task"
    " keep try it the a of to in with for and or when if before after first again only not still"
).split()


def with_noise(rng: random.Random, text: str, share: float) -> str:
    """A share of the words replaced by others, so that no single word is relied upon; placeholders stay."""
    words = text.split(" ")
    return " ".join(
        rng.choice(_OTHER_WORDS) if not w.startswith("{") and rng.random() < share else w for w in words
    )
