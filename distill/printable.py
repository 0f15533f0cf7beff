"""Text from models and data made fit to be shown: what a terminal would obey or hide is written out as an escape."""

import json


def visible(text: str, *, keep: str = "") -> str:
    """`text` with every unprintable character but those in `keep` as `\\x1b`, `\\u202e` or `\\U000e0001`.

    Unprintable are control characters, bidirectional and other format marks, separators other than the blank, lone halves of surrogate
    pairs, and characters that Unicode has not assigned.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else _escape(char) for char in text)


def visible_json(document: object, *, indent: int | None = None) -> str:
    """JSON that reads back as `document` and holds no unprintable character; letters of every script stay as they are."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def _escape(char: str) -> str:
    number = ord(char)
    if char in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )
