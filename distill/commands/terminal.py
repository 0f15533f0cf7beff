"""Tables and colours. What comes from models or data is shown as it is, never read as markup."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distill.printable import visible

Cell = tuple[str, str]
"""(text, rich style)"""
_PIPE_WIDTH = 240


def console(stream: IO[str] | None = None) -> Console:
    """Colours on a terminal; plain and hardly wrapped in a pipe, where each row should stay one line."""
    stream = stream or sys.stdout
    # Without a terminal rich assumes 80 columns and folds what is longer.
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        # Only the line's end may pass: an escape sequence in a model's words would be obeyed by the terminal.
        shown.add_row(*(Text(visible(text, keep="\n"), style=style) for text, style in row))
    return shown
