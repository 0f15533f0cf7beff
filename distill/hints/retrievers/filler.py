"""Sentences that advise nothing: a block as long as the hints, so that what length alone does to an agent can be told.

They describe, in the past, things of neither world, and hold no command. Our own text.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actors.trajectory import GivenHint
from distill.hints.hint import Hint
from distill.hints.retrievers.seams import Ranker, seeded
from envs.task import Task

CountTokens = Callable[[str], int]

_WHO = (
    "The river", "A grey cloud", "The old bridge", "The evening train", "A distant bell", "The ferry", "The narrow road", "A flock of geese",
    "The harbour wall", "The valley", "Rain", "The village band", "A lighthouse", "Snow", "The north wind", "The moon", "A quiet street",
)  # fmt: skip
_DID = (
    "was pale", "seemed far", "moved slowly", "shone faintly", "stayed silent", "had been calm", "grew dim", "lay still", "turned northward",
    "came late", "was known in three counties", "belonged to an earlier century", "followed the coast", "reminded people of autumn",
)  # fmt: skip
_WHERE = (
    "that year", "beyond the hills", "in early spring", "near the border", "under a wide sky", "for many years", "on most Sundays",
    "as in the old songs", "along the shore", "in that country", "during the long winter", "long ago",
)  # fmt: skip
_AND = ("and", "while", "as", "though")
_TRIES = 400


@dataclass(frozen=True, kw_only=True)
class FillerRanker:
    """For each hint of another ranker a text without advice of the same number of tokens, or the nearest that was found."""

    best: Ranker
    seed: int
    count_tokens: CountTokens

    def __call__(self, task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[GivenHint, ...]:
        owed, fillers = 0, []
        for hint in self.best(task, opening, candidates, k):
            # What one text is too long or too short, the next one makes up for: the block's length is what is matched.
            owed += self.count_tokens(hint.text)
            text = filler_text(seeded(task, self.seed, hint.id), max(owed, 1), self.count_tokens)
            owed -= self.count_tokens(text)
            fillers.append(GivenHint(id=f"{hint.id}-filler", text=text))
        return tuple(fillers)


def count_words(text: str) -> int:
    """Length where no tokenizer is at hand."""
    return len(text.split())


def filler_text(rng: random.Random, num_tokens: int, count_tokens: CountTokens) -> str:
    """One sentence of about so many tokens, always whole."""
    nearest, distance = "", float("inf")
    for _ in range(_TRIES):
        text = _sentence(rng, num_tokens, count_tokens)
        if (off := abs(count_tokens(text) - num_tokens)) < distance:
            nearest, distance = text, off
        if distance == 0:
            break
    return nearest


def _sentence(rng: random.Random, num_tokens: int, count_tokens: CountTokens) -> str:
    """Clauses until it is about long enough."""
    text = rng.choice(_WHO)
    if num_tokens > 2:
        text += f" {rng.choice(_DID)}"
    while count_tokens(text + ".") < num_tokens - 1:
        more = rng.choice(_WHERE) if rng.random() < 0.5 else f"{rng.choice(_AND)} {_clause(rng)}"
        if count_tokens(f"{text} {more}.") > num_tokens and rng.random() < 0.8:
            break
        text += f" {more}"
    return text + "."


def _clause(rng: random.Random) -> str:
    who = rng.choice(_WHO)
    return f"{who[0].lower()}{who[1:]} {rng.choice(_DID)}"
