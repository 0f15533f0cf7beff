"""One JSON array or object of any size, entry by entry, as the standard library reads it (`NaN` and lone surrogates included)."""

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

CHUNK = 1 << 20
LONGEST_ENTRY = 1 << 26
"""Characters; what goes on for longer without end is damage."""


def array_entries(stream: IO[bytes]) -> Iterator[Any]:
    """Raises `ValueError` where the text is no array or ends too soon."""
    reader = _Reader(stream)
    reader.expect("[")
    if reader.peek() == "]":
        return
    while True:
        yield reader.value()
        if reader.expect(",]") == "]":
            return


def object_entries(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Raises `ValueError` where the text is no object or ends too soon."""
    reader = _Reader(stream)
    reader.expect("{")
    if reader.peek() == "}":
        return
    while True:
        key = reader.value()
        reader.expect(":")
        yield key, reader.value()
        if reader.expect(",}") == "}":
            return


class _Reader:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._fill()

    def expect(self, characters: str) -> str:
        found = self.peek()
        if not found or found not in characters:
            raise ValueError(f"{' or '.join(map(repr, characters))} was expected, not {found or 'its end'!r}")
        self._at += 1
        return found

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                found, end = self._scan(self._text, self._at)
            except json.JSONDecodeError:
                if self._ended or len(self._text) - self._at > LONGEST_ENTRY:
                    raise
            else:
                # A number could go on in the next chunk, even behind a dot that is here already.
                if self._ended or (end < len(self._text) and self._text[end] not in "0123456789.eE+-"):
                    self._at = end
                    return found
            self._fill()

    def _fill(self) -> None:
        chunk = self._stream.read(CHUNK)
        self._ended = not chunk
        self._text = self._text[self._at :] + self._decoder.decode(chunk, self._ended)
        self._at = 0
