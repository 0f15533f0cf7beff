"""Where words begin and end: Unicode's UAX #29 as Lucene's standard tokeniser applies it (Unicode 12.1).

Every character becomes one letter of a small alphabet of classes; regular expressions over that string find the words. Knows nothing of
stemming or stop words.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path

LONGEST_WORD = 255
"""UTF-16 units; what is longer is cut there, and the rest goes on as a new word."""

_OTHER = " "


def words(text: str) -> list[str]:
    """The words of `text` in order, as written."""
    rules = _rules()
    if text.isascii():
        found = rules.ascii.findall(text)
        if len(text) <= LONGEST_WORD or max(map(len, found), default=0) <= LONGEST_WORD:
            return found
    classes = text.translate(rules.letters)
    if rules.rare.search(classes) is None and rules.long.search(classes) is None:
        return [text[m.start() : m.end()] for m in rules.plain.finditer(classes)]
    return [text[start:end] for start, end in rules.spans(text, classes)]


class _Letters(dict[int, str]):
    """Code point -> class letter, looked up in ranges the first time."""

    def __init__(self, ranges: list[tuple[int, int, str]]) -> None:
        super().__init__()
        self._ranges = ranges
        self._starts = [start for start, _, _ in ranges]

    def __missing__(self, code: int) -> str:
        at = bisect_right(self._starts, code) - 1
        letter = _OTHER
        if at >= 0 and code <= self._ranges[at][1]:
            letter = self._ranges[at][2]
        self[code] = letter
        return letter


class _Rules:
    """The table of classes and the patterns made from it.

    A class of the table is a set of properties, each one character: A letter, H Hebrew letter, N digit, K Katakana, M and U what may stand
    inside a word and inside a number, Q and W the single and the double quote, E connector, X what extends the character before it, Z joiner,
    V the selector of emoji looks, T that of text looks, t and z tags, I Han, J Hiragana, S South-East Asian, R regional indicator, e emoji,
    B and O its modifiers' base and the modifiers, k and c the parts of a keycap.
    """

    def __init__(self, table: str) -> None:
        lines = [line.split() for line in table.splitlines() if not line.startswith("#")]
        self._letter_of = {line[0]: chr(ord("a") + i) for i, line in enumerate(lines)}
        ranges = []
        for signature, *spans in lines:
            for span in spans:
                low, _, high = span.partition("-")
                ranges.append((int(low, 16), int(high or low, 16), self._letter_of[signature]))
        self.letters = _Letters(sorted(ranges))
        self._alphabet: dict[str, str] = {}
        self.plain = re.compile(self._word())
        # The same rule over the characters themselves: most texts need no classes.
        self._alphabet = {
            letter: re.escape("".join(chr(code) for code in range(128) if self.letters[code] == letter))
            for letter in self._letter_of.values()
        }
        apart = re.escape("," + "".join(chr(code) for code in range(128) if self.letters[code] == _OTHER))
        # Letters up to a character that joins nothing come first, for speed.
        self.ascii = re.compile(f"{self._any('A')}+(?=[{apart}]|\\Z)|{self._word()}")
        self._alphabet = {}
        self.rare = re.compile(self._any("eBORIJSZc"))
        self.long = re.compile(f"[^{_OTHER}]{{{LONGEST_WORD // 2},}}")
        alone = [self._any(p) + self._any("X") + "*" for p in "IJ"]
        southeast = f"(?:{self._any('S')}{self._any('X')}*)+"
        self._each = [re.compile(p) for p in (self._word(), self._emoji(), southeast, *alone)]

    def spans(self, text: str, classes: str) -> Iterator[tuple[int, int]]:
        """At each place the longest match of any rule."""
        at, end = 0, len(text)
        while at < end:
            limit = _units_end(text, at)
            found = max((m.end() for rule in self._each if (m := rule.match(classes, at, limit))), default=at)
            if found > at:
                yield at, found
            at = max(found, at + 1)

    def _any(self, properties: str, but: str = "", *, negated: bool = False) -> str:
        letters = [
            letter
            for signature, letter in self._letter_of.items()
            if set(signature) & set(properties) and not set(signature) & set(but)
        ]
        if not self._alphabet:
            return f"[{'^' * negated}{''.join(letters)}]"
        characters = "".join(self._alphabet[letter] for letter in letters)
        return f"[{'^' * negated}{characters}]" if characters else "(?!)"

    def _word(self) -> str:
        x = self._any("X") + "*"
        letter, digit, kana, joint = (self._any(p) + x for p in "ANKE")
        joints = f"(?:{joint})*"
        after_hebrew = f"(?:{self._any('Q')}{x}|{self._any('W')}{x}{self._any('H')}{x})"
        hebrew = f"{self._any('H')}{x}{after_hebrew}"
        # A run of letters has taken its last Hebrew letter already, hence the look back; one that follows a joint cannot be given back.
        quoted = f"(?:(?<={self._any('M', negated=True)}{self._any('H')}){after_hebrew})?"
        number = f"{digit}(?:(?:{joints}|{self._any('U')}{x}){digit})*"
        run = f"{letter}(?:(?:{joints}|{self._any('M')}{x}){letter})*{quoted}"
        part = f"(?:{kana}(?:{joints}{kana})*|(?:{hebrew}|{number}|{run})+)"
        return f"{joints}{part}(?:(?:{joint})+{part})*{joints}"

    def _emoji(self) -> str:
        x = self._any("X", but="TV") + "*"
        joiner, look = self._any("Z"), self._any("V")
        tag = f"(?:{self._any('t')}+{self._any('z')})?"
        modified = f"(?:{joiner}*{self._any('B')}{x})?{self._any('O')}{x}"
        one = f"(?:{joiner}*{self._any('e')}{x}(?:{look}{tag})?|{modified})"
        # The extenders before it have taken the joiner already, hence the look back.
        sequence = f"{one}(?:(?:{joiner}|(?<={joiner})){one})*"
        keycap = f"{self._any('k')}{x}{look}?{self._any('c')}{x}"
        region = self._any("R") + self._any("X") + "*"
        return f"(?:{sequence}|{keycap}|{region}{region})"


def _units_end(text: str, at: int) -> int:
    """The end of the `LONGEST_WORD` UTF-16 units from `at`."""
    end = min(len(text), at + LONGEST_WORD)
    piece = text[at:end]
    if piece.isascii() or max(piece) <= "\uffff":
        return end
    units = 0
    for offset, character in enumerate(piece):
        units += 1 + (character > "\uffff")
        if units > LONGEST_WORD:
            return at + offset
    return end


@cache
def _rules() -> _Rules:
    return _Rules(Path(__file__).with_name("word_classes.txt").read_text(encoding="ascii"))
