"""The leak audit: does a training row still say what a hint said? Stripping the prompt does not strip a reply that quotes it.

The world's own words are no leak (`open cabinet 1` is an action, whatever the hints say of cabinets), so a match must cover a hint, or a
long stretch of it, and be longer than any command. Looks at texts only: of the messages, and of the tokens as they decode.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq

from distill.hints.hint import normalise

CHECKS = ("exact", "normalised", "slots", "run", "fuzzy", "phrase", "block")

_BY_WORDS = frozenset({"normalised", "slots", "run", "fuzzy"})

_MIN_WORDS = 3
"""A hint of fewer words is looked for letter by letter only."""
_MIN_LITERAL = 4
"""Words outside slots that a hint with its slots filled in must have; `take {object} from {place}` is a command."""
_RUN = 6
"""Words in a row that a reply and a hint must share; also at least `_RUN_SHARE` of the hint."""
_RUN_SHARE = 0.6
_FUZZY_WORDS = 0.8
"""Of a hint's words outside slots, those that a stretch of a reply must hold in order."""
_FUZZY_SCORE = 86.0
"""Or so alike in letters."""
_FUZZY_MIN_CHARS = 24
_FUZZY_MIN_WORDS = 9
"""`Hold the {object}, go to the {lamp} and use it` is what anybody would think in other words."""
_FUZZY_COVERAGE = 0.85
_CONTENT_SHARE = 0.6
"""Of a hint's content words that a reply must hold before anything costly is computed."""

_SLOT = re.compile(r"\{[^{}]*\}")
_WORD = re.compile(r"[a-z0-9']+|\{[^{}]*\}")
_FILLED = r"(?:[a-z0-9']+ ){1,3}?"
_TALK = re.compile(
    r"\b(?:"
    r"(?:hints?|advice|tips?|guidelines?|rules?) (?:i (?:was|were|am|have been|had been) given|given to me|above|from (?:earlier|previous|past) \w+)"
    r"|(?:hints?|advice|tips?|guidelines?) (?:\d+ )?(?:also )?(?:says?|said|tells?|told|suggests?|suggested|reminds?|reminded|recommends?|states?|mentions?|advises?|is to|was to)\b"
    r"|(?:according to|as per|following|based on|per|thanks to|remember(?:ing)?|recall(?:ing)?|apply(?:ing)?|using|use|follow|heed(?:ing)?)"
    r" (?:the|this|that|these|those|my|your|given|our) (?:\w+ )?(?:hints?|advice|tips?|guidelines?)"
    r"|(?:as|like) (?:the |my |your )?(?:hints?|advice|tips?|guidelines?) (?:says?|said|suggests?|suggested|tells?|told|states?|mentions?)"
    r"|as (?:hinted|advised)|(?:was|were|am|been) (?:advised|hinted) to"
    r"|earlier tries"
    r")\b",
    re.IGNORECASE,
)
_STOP = frozenset(
    "a an the and or of to in on at it its is are be you your that this for with from by as if when then before after first only not do no i".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    check: str
    """One of `CHECKS`."""
    hint: str
    """The hint or block line that was found again; "" for talk about hints."""
    found: str
    """What the row says."""
    turn: int | None
    """The reply's number from 1 on; None for a part that the model did not say."""


class LeakError(ValueError):
    """A training row still says what a hint said."""


@dataclass(frozen=True, kw_only=True)
class LeakAuditor:
    """Looks for hints in texts; built once for all rows."""

    hints: tuple[str, ...]
    """Texts, slots in braces."""
    block_lines: frozenset[str] = frozenset()
    """Lines that stand in a hinted prompt alone, header included."""
    allowed: str = ""
    """The bare prompt: words that every row holds and that no hint brought."""

    def spoken(self, texts: Sequence[str], heard: str = "") -> list[Leak]:
        """Leaks in replies; `texts[i]` is turn i + 1. What repeats `heard`, the bare prompt and the world's words, is none."""
        leaks: list[Leak] = []
        for turn, text in enumerate(texts, start=1):
            if text not in self._known:
                self._known[text] = tuple(self._scan(text))
            leaks += [
                Leak(check=check, hint=hint, found=found, turn=turn)
                for check, hint, found in self._known[text]
            ]
        if not leaks or not heard:
            return leaks
        squeezed = _squeezed(heard)
        return [leak for leak in leaks if leak.check not in _BY_WORDS or f" {leak.found} " not in squeezed]

    def unspoken(self, text: str) -> list[Leak]:
        """Leaks in what the model read or in a whole row: hints as they were written, and lines of the hint block."""
        squeezed = _squeezed(text)
        leaks = [Leak(check="exact", hint=h, found=h, turn=None) for h in self._literal if h in text]
        leaks += [
            Leak(check="normalised", hint=hint, found=words, turn=None)
            for hint, words in self._plain_words
            if words in squeezed and all(leak.hint != hint for leak in leaks)
        ]
        leaks += [
            Leak(check="block", hint=line, found=line, turn=None)
            for line in sorted(self.block_lines)
            if line in text
        ]
        return leaks

    def _scan(self, text: str) -> Iterable[tuple[str, str, str]]:
        if talk := _TALK.search(text):
            yield ("phrase", "", talk[0])
        for line in sorted(self.block_lines):
            if line in text:
                yield ("block", line, line)
        words = _words(text)
        squeezed = f" {' '.join(words)} "
        matches = [
            (found[0], self._entries[index].text, found[1])
            for index in self._candidates(words)
            if (found := self._match(self._entries[index], text, squeezed, words))
        ]
        # Hints are alike: a reply that quotes one resembles others. The closest match tells the most.
        yield from sorted(matches, key=lambda match: CHECKS.index(match[0]))[:1]

    def _match(
        self, entry: "_Entry", text: str, squeezed: str, words: Sequence[str]
    ) -> tuple[str, str] | None:
        if entry.text in text:
            return ("exact", entry.text)
        if len(entry.plain) >= _MIN_WORDS and entry.has_slots and f" {' '.join(entry.plain)} " in squeezed:
            return ("normalised", " ".join(entry.plain))
        if len(entry.literal) >= _MIN_LITERAL:
            if filled := entry.pattern.search(squeezed):
                return ("slots" if entry.has_slots else "normalised", filled[0].strip())
            if run := _longest_run(entry, words):
                return ("run", run)
            return _fuzzy(entry, squeezed, words)
        return None

    def _candidates(self, words: Sequence[str]) -> list[int]:
        """Hints that share enough content words with a text; a command shares too few with any."""
        shared: Counter[int] = Counter()
        for word in set(words):
            shared.update(self._postings.get(word, ()))
        return sorted(i for i, count in shared.items() if count >= self._entries[i].enough)

    @cached_property
    def _known(self) -> dict[str, tuple[tuple[str, str, str], ...]]:
        # Most replies are commands that come again in other rows.
        return {}

    @cached_property
    def _entries(self) -> tuple["_Entry", ...]:
        return tuple(_entry(text) for text in dict.fromkeys(self.hints))

    @cached_property
    def _postings(self) -> dict[str, list[int]]:
        postings: dict[str, list[int]] = defaultdict(list)
        for index, entry in enumerate(self._entries):
            for word in entry.content:
                postings[word].append(index)
        return dict(postings)

    @cached_property
    def _literal(self) -> tuple[str, ...]:
        return tuple(
            e.text for e in self._entries if len(e.plain) >= _MIN_WORDS and e.text not in self.allowed
        )

    @cached_property
    def _plain_words(self) -> tuple[tuple[str, str], ...]:
        allowed = _squeezed(self.allowed)
        pairs = [(e.text, f" {' '.join(e.plain)} ") for e in self._entries if len(e.plain) >= _MIN_LITERAL]
        return tuple((text, words) for text, words in pairs if words not in allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    text: str
    tokens: tuple[str, ...]
    """Words and slots in order."""
    plain: tuple[str, ...]
    """Words, slots by their names."""
    literal: tuple[str, ...]
    """Words outside slots."""
    content: frozenset[str]
    """Literal words that say something."""
    enough: int
    pattern: re.Pattern[str]
    """Over squeezed text, slots filled by one to three words."""

    @property
    def has_slots(self) -> bool:
        return len(self.literal) < len(self.tokens)


def _entry(text: str) -> _Entry:
    tokens = tuple(_WORD.findall(normalise(text)))
    literal = tuple(token for token in tokens if not _SLOT.fullmatch(token))
    content = frozenset(word for word in literal if word not in _STOP) or frozenset(literal)
    pieces = [_FILLED if _SLOT.fullmatch(token) else re.escape(token) + " " for token in tokens]
    return _Entry(
        text=text.strip(),
        tokens=tokens,
        plain=tuple(word for token in tokens for word in _words(token)),
        literal=literal,
        content=content,
        enough=max(1, int(len(content) * _CONTENT_SHARE)),
        pattern=re.compile(" " + "".join(pieces)),
    )


def _longest_run(entry: _Entry, words: Sequence[str]) -> str | None:
    """A long stretch of the hint, word for word, its slots not counted as words."""
    needed = max(_RUN, int(_RUN_SHARE * len(entry.literal)))
    if len(entry.literal) < needed or len(words) < needed:
        return None
    held = {tuple(words[i : i + needed]) for i in range(len(words) - needed + 1)}
    tokens = entry.tokens
    for i in range(len(tokens) - needed + 1):
        stretch = tokens[i : i + needed]
        if stretch in held:
            return " ".join(stretch)
    return None


def _fuzzy(entry: _Entry, squeezed: str, words: Sequence[str]) -> tuple[str, str] | None:
    """The hint with a word or two changed, or misspelt. The hint must be the needle: a short command is part of many a hint."""
    needle = " ".join(entry.literal)
    if len(needle) < _FUZZY_MIN_CHARS or len(squeezed) < _FUZZY_COVERAGE * len(needle):
        return None
    if found := _most_words_in_order(entry, words):
        return ("fuzzy", found)
    aligned = fuzz.partial_ratio_alignment(needle, squeezed, score_cutoff=_FUZZY_SCORE)
    if aligned is None or aligned.src_end - aligned.src_start < _FUZZY_COVERAGE * len(needle):
        return None
    return ("fuzzy", squeezed[aligned.dest_start : aligned.dest_end].strip())


def _most_words_in_order(entry: _Entry, words: Sequence[str]) -> str | None:
    """A window of the reply with nearly all of the hint's words in the hint's order, its slots filled by anything."""
    if len(entry.literal) < _FUZZY_MIN_WORDS:
        return None
    width = len(entry.tokens) + (len(entry.tokens) - len(entry.literal)) + 2
    enough = math.ceil(_FUZZY_WORDS * len(entry.literal))
    for start in range(max(1, len(words) - enough + 1)):
        window = words[start : start + width]
        if (
            window[0] in entry.literal
            and LCSseq.similarity(entry.literal, window, score_cutoff=enough) >= enough
        ):
            return " ".join(window)
    return None


def leak_message(task: str, leak: Leak) -> str:
    """What a `LeakError` says of one leak."""
    where = f"turn {leak.turn}" if leak.turn is not None else "the prompt"
    of_hint = (
        f' (hint "{leak.hint}", check {leak.check})'
        if leak.hint and leak.hint != leak.found
        else f" (check {leak.check})"
    )
    return f'hint leak: {task} {where} still says "{leak.found}"{of_hint}; drop the trajectory or rewrite the turn'


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _squeezed(text: str) -> str:
    return f" {' '.join(_words(text))} "
