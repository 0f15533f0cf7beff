"""What a vocabulary of the pocket model's tokenizer consists of, and that of the households. Knows no tokenizer."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from envs.alfworld.catalogue import FIXTURE_TYPES, RECEPTACLE_TYPES, THING_TYPES
from envs.alfworld.world import BANNER


class Name(NamedTuple):
    """A token that shares what is learnt with others: `mug 1` with `mug 2` by its word, with `desk 1` by its number."""

    text: str
    word: str
    number: int = 0
    """0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    phrases: tuple[str, ...]
    """Frames of sentences, a token each."""
    pattern: str
    """A regular expression of the pieces that names stand in, tried after the phrases."""
    names: tuple[Name, ...]

    def with_phrases(self, *phrases: str) -> "Vocabulary":
        return replace(self, phrases=(*self.phrases, *phrases))


_MOST_NUMBERED = {"cabinet": 30, "drawer": 30, "shelf": 16}
"""Highest number of a name with a token of its own, where rooms have many; the others go to `_MOST`."""
_MOST = 7
_PHRASES = (
    BANNER,
    "You are in the middle of a room. Looking quickly around you, you see a",
    ".\n\nYour task is to:",
    "You are in the middle of a room. Looking quickly around you, you see nothing.",
    "You arrive at",
    ". On the",
    ". The",
    ", you see a",
    ", you see nothing.",
    " is closed.",
    " is open. In it, you see a",
    " is open. In it, you see nothing.",
    ", and a",
    ", a",
    "You open the",
    "You close the",
    "You pick up the",
    "You move the",
    "You heat the",
    "You cool the",
    "You clean the",
    "You turn on the",
    " from the",
    " to the",
    " using the",
    "You are facing the",
    ". Next to it, you see nothing.",
    "You are carrying: a",
    "You are not carrying anything.",
    "There's nothing special about",
    "This is a normal",
    ". In it, you see nothing.",
    "Nothing happens.",
    "OK.",
    "think:",
    " I need a",
    " I need two",
    " for the",
    " and the",
    ". I look inside.",
    ". I look around.",
    " I take only that.",
    " I take the first.",
    "go to",
    "take",
    "move",
    "put",
    "open",
    "close",
    "clean",
    "heat",
    "cool",
    "use",
    "examine",
    "look",
    "inventory",
    " in/on",
    " from",
    " to",
    " with",
    "\n- ",
    "\n\n",
)
_TYPES = (*RECEPTACLE_TYPES, *THING_TYPES, *FIXTURE_TYPES)


def _limit(name: str) -> int:
    return _MOST_NUMBERED.get(name, _MOST)


HOUSEHOLDS = Vocabulary(
    phrases=_PHRASES,
    pattern=rf" (?:{'|'.join(sorted(set(_TYPES), key=lambda w: (-len(w), w)))}) [0-9]{{1,2}}(?![0-9])",
    names=(
        *(
            Name(f" {n} {i}", n, i)
            for n in (*RECEPTACLE_TYPES, *THING_TYPES)
            for i in range(1, _limit(n) + 1)
        ),
        *(Name(f" {n}", n) for n in _TYPES),
    ),
)
"""`mug 1` is one token, so that copying a name is copying one token."""
STATE_PHRASES = ("goal:", "\nthought:", "\naction: ", " None")
"""Of StateAct in both environments; a command's own words stand right behind the frame, as they begin a reply of ReAct."""
HOUSEHOLDS_STATEACT = HOUSEHOLDS.with_phrases(
    *STATE_PHRASES,
    "\nlocations visited:",
    "\ncurrent location:",
    "\ncurrent inventory:",
    " starting location",
)
