"""The leak audit: does a training row still say what a hint said? Stripping the prompt does not strip a reply that quotes it.

The world's own words are no leak (`open cabinet 1` is an action, whatever the hints say of cabinets), so a match must cover a hint, or a
long stretch of it, and be longer than any command. Looks at texts only: of the messages, and of the tokens as they decode.
What each check finds and what none can find: docs/leaks.md.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq

from distill.audit_talk import names_advice, recited, stem
from distill.hints.hint import normalise

CHECKS = ("exact", "normalised", "slots", "run", "fuzzy", "phrase", "told", "split", "block")

_BY_WORDS = frozenset({"normalised", "slots", "run", "fuzzy", "told"})

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
_TOLD_SHARE = 0.5
"""Of a hint's content words, by their stems, that a sentence of something told must hold; the task's own words do not count."""
_TOLD_MIN = 2
_CONTENT_SHARE = 0.6
"""Of a hint's content words that a reply must hold before anything costly is computed."""

_MOST_KNOWN = 20_000
"""Texts that are remembered, so that memory does not grow with the number of rows."""

_SLOT = re.compile(r"\{[^{}]*\}s?")
"""`{object}s` is one slot, whose name is `objects`."""
_WORD = re.compile(r"\{[^{}]*\}s?|[a-z0-9']+")
_LABEL = re.compile(r"^\s*>?\s*([A-Za-z][A-Za-z _]{0,19}):\s*(.+)$", re.MULTILINE)
"""`think: ...` of ReAct, and a field a line of other agents."""
_COMMANDS = frozenset({"action", "act"})
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_FILLED = r"(?:[a-z0-9']+ ){1,3}?"
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
    begun: int | None = None
    """The earlier reply that a split hint begins in."""


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

    def spoken(self, texts: Sequence[str], heard: str = "", goal: str = "") -> list[Leak]:
        """Leaks in replies; `texts[i]` is turn i + 1. What repeats `heard`, the bare prompt and the world's words, is none; nor is it
        one to have been told the `goal`."""
        leaks: list[Leak] = []
        for turn, text in enumerate(texts, start=1):
            if text not in self._known:
                _make_room(self._known)
                self._known[text] = tuple(self._scan(text))
            leaks += [
                Leak(check=check, hint=hint, found=found, turn=turn)
                for check, hint, found in self._known[text]
            ]
        leaks += self._split(texts, {leak.turn for leak in leaks})
        if not leaks:
            return leaks
        squeezed, own = _squeezed(heard), {stem(word) for word in _words(goal)}
        return [
            leak
            for leak in leaks
            if (leak.check not in _BY_WORDS or not heard or f" {leak.found} " not in squeezed)
            and (leak.check != "told" or not own or self._holds_told(leak, own))
        ]

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
        if talk := names_advice(text):
            yield ("phrase", "", talk)
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
        if not matches:
            yield from self._told(text)

    def _told(self, text: str) -> Iterable[tuple[str, str, str]]:
        """A hint in other words that somebody is said to have told."""
        for stretch in recited(text):
            words = _words(stretch)
            shared: Counter[int] = Counter()
            for one in {stem(word) for word in words}:
                shared.update(self._stem_postings.get(one, ()))
            enough = [i for i, count in shared.items() if count >= self._entries[i].enough_told]
            if enough:
                closest = max(enough, key=lambda i: (shared[i] / len(self._entries[i].stems), -i))
                yield ("told", self._entries[closest].text, " ".join(words))

    def _holds_told(self, leak: Leak, own: set[str]) -> bool:
        """Whether the hint's words beyond those of the goal were told as well."""
        entry = next(e for e in self._entries if e.text == leak.hint)
        beyond = entry.stems - own
        shared = beyond & {stem(word) for word in leak.found.split()}
        return bool(shared) and len(shared) >= _TOLD_SHARE * len(beyond)

    def _split(self, texts: Sequence[str], leaking: set[int | None]) -> Iterable[Leak]:
        """Hints that begin in one thought and end in the next; commands are what they are."""
        last: dict[str, tuple[int, str]] = {}
        for turn, text in enumerate(texts, start=1):
            if turn in leaking:
                last.clear()
                continue
            for label, said in _LABEL.findall(text):
                begun = last.get(label)
                if label.lower() not in _COMMANDS:
                    last[label] = (turn, said)
                if begun and begun[0] < turn and (found := self._split_between(begun[1], said)):
                    yield Leak(check="split", hint=found[0], found=found[1], turn=turn, begun=begun[0])

    def _split_between(self, first: str, second: str) -> tuple[str, str] | None:
        if (pair := (first, second)) not in self._known_pairs:
            _make_room(self._known_pairs)
            text = f"{first} {second}"
            words = _words(text)
            squeezed = f" {' '.join(words)} "
            matches = (
                (self._entries[index].text, found[1])
                for index in self._candidates(words)
                if (found := self._match(self._entries[index], text, squeezed, words))
            )
            self._known_pairs[pair] = next(matches, None)
        return self._known_pairs[pair]

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
        alike = {i for i, count in shared.items() if count >= self._entries[i].enough}
        # A long stretch may hold few of the words that say something.
        for start in range(len(words) - _RUN + 1):
            alike.update(self._runs.get(tuple(words[start : start + _RUN]), ()))
        return sorted(alike)

    @cached_property
    def _known(self) -> dict[str, tuple[tuple[str, str, str], ...]]:
        # Most replies are commands that come again in other rows.
        return {}

    @cached_property
    def _known_pairs(self) -> dict[tuple[str, str], tuple[str, str] | None]:
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
    def _runs(self) -> dict[tuple[str, ...], list[int]]:
        runs: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, entry in enumerate(self._entries):
            for start in range(len(entry.tokens) - _RUN + 1):
                runs[entry.tokens[start : start + _RUN]].append(index)
        return dict(runs)

    @cached_property
    def _stem_postings(self) -> dict[str, list[int]]:
        postings: dict[str, list[int]] = defaultdict(list)
        for index, entry in enumerate(self._entries):
            for one in entry.stems:
                postings[one].append(index)
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
    stems: frozenset[str]
    enough_told: int
    pattern: re.Pattern[str]
    """Over squeezed text, slots filled by one to three words."""

    @property
    def has_slots(self) -> bool:
        return len(self.literal) < len(self.tokens)


def _entry(text: str) -> _Entry:
    tokens = tuple(_WORD.findall(normalise(text)))
    literal = tuple(token for token in tokens if not _SLOT.fullmatch(token))
    content = frozenset(word for word in literal if word not in _STOP) or frozenset(literal)
    stems = frozenset(stem(word) for word in content if len(word) > 1)
    pieces = [_FILLED if _SLOT.fullmatch(token) else re.escape(token) + " " for token in tokens]
    return _Entry(
        text=text.strip(),
        tokens=tokens,
        plain=tuple(word for token in tokens for word in _words(re.sub(r"[{}]", "", token))),
        literal=literal,
        content=content,
        enough=max(1, int(len(content) * _CONTENT_SHARE)),
        stems=stems,
        enough_told=max(_TOLD_MIN, math.ceil(_TOLD_SHARE * len(stems))),
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
    if leak.begun is not None:
        where = f"turns {leak.begun} and {leak.turn}"
    of_hint = (
        f' (hint "{leak.hint}", check {leak.check})'
        if leak.hint and leak.hint != leak.found
        else f" (check {leak.check})"
    )
    return f'hint leak: {task} {where} still says "{leak.found}"{of_hint}; drop the trajectory or rewrite the turn'


def _make_room(known: dict[Any, Any]) -> None:
    if len(known) >= _MOST_KNOWN:
        known.clear()


def _words(text: str) -> list[str]:
    if not text.isascii():
        # Full-width letters, curled apostrophes and invisible characters say the same.
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).replace("\u2019", "'")
    return re.findall(r"[a-z0-9']+", text.lower())


def _squeezed(text: str) -> str:
    return f" {' '.join(_words(text))} "
