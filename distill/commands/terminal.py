"""Tables and colours. What comes from models or data is shown as it is, never read as markup."""

import os
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

Cell = tuple[str, str]
"""(text, rich style)"""


def console(file: object = None) -> Console:
    """Colours on a terminal; plain and never wrapped in a pipe, where each row should stay one line."""
    stream = file or sys.stdout
    on_terminal = bool(getattr(stream, "isatty", lambda: False)())
    # Without a terminal rich assumes 80 columns and cuts what is longer.
    width = None if on_terminal or "COLUMNS" in os.environ else 200
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width, soft_wrap=not on_terminal)  # type: ignore[arg-type]


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(text, style=style) for text, style in row))
    return shown
