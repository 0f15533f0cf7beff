"""Banks as text: JSONL that comes back as it went, and CSV and Markdown for readers. Knows nothing of how they are read again."""

import csv
import io
import re
from collections.abc import Callable, Mapping

from distill.hints.bank import Bank
from distill.hints.hint import Hint, to_row
from distill.printable import visible, visible_json

_MARKED_UP = re.compile(r"([\\`*_\[\]<>|~&#])")


def to_jsonl(bank: Bank) -> str:
    """One hint a line with its whole lineage."""
    return "".join(visible_json(to_row(hint)) + "\n" for hint in bank.hints)


def to_csv(bank: Bank) -> str:
    """For spreadsheets; without lineage, and not to be imported again."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["id", "env", "kind", "count", "votes", "tasks", "writer", "uses_oracle", "text"])
    for hint in bank.hints:
        numbers = [hint.count, hint.votes, len(hint.tasks)]
        words = [_cell(value) for value in (hint.writer, str(hint.uses_oracle).lower(), hint.text)]
        rows.writerow([hint.id, _cell(hint.env), _cell(hint.kind), *numbers, *words])
    return text.getvalue()


def to_markdown(bank: Bank) -> str:
    """A table a kind, for reading."""
    parts = []
    for env, kind in sorted({(hint.env, hint.kind) for hint in bank.hints}):
        hints = [hint for hint in bank.hints if (hint.env, hint.kind) == (env, kind)]
        lines = [f"## {_plain(kind)} ({_plain(env)})", "", "| count | votes | hint |", "|---:|---:|---|"]
        lines += [_markdown_row(hint) for hint in hints]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


FORMATS: Mapping[str, Callable[[Bank], str]] = {"jsonl": to_jsonl, "csv": to_csv, "md": to_markdown}
"""By the ending of a file's name."""


def _markdown_row(hint: Hint) -> str:
    return f"| {hint.count} | {hint.votes} | {_plain(hint.text)} |"


def _plain(text: str) -> str:
    return _MARKED_UP.sub(r"\\\1", visible(text))


def _cell(text: str) -> str:
    text = visible(text)
    # A spreadsheet would run a model's words as a formula.
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
