"""The study on a terminal: arms as rows, then what the differences are worth."""

from collections.abc import Mapping
from io import StringIO
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from distill.report import words

_VERDICT_STYLES = {"real": "bold green", "suggestive": "yellow", "not told apart": "dim"}


def results_table(results: Mapping[str, Any]) -> Group:
    """What `offbook report` prints; a rich renderable."""
    panel = results["panel"]
    title = Text.assemble(
        (results["study"], "bold"),
        f"  {panel['name']} ({panel['num_tasks']:,} tasks, {panel['sha256'][:12]})",
    )
    legend = Text("prompt, of it cached, and written: tokens an episode", style="dim")
    parts: list[Any] = [title, Text(), _arms(results), legend]
    parts += [Text()]
    parts += [_comparison(row) for row in results["comparisons"] if row["metric"] == "success"]
    tokens = words.find(results, "distill", "teacher", "prompt_tokens")
    parts += [_comparison(tokens)] if tokens else []
    lines = [line for line in (words.tied(results), words.spent(results)) if line]
    parts += [Text(), *map(Text, lines)] if lines else []
    slow = [line for line in words.stragglers(results) if not line.partition(": ")[2].startswith("0 over")]
    parts += [Text(), *(Text(line, style="dim") for line in slow)] if slow else []
    word, sentence = words.answer(results)
    parts += [Text(), Text.assemble((f"{word}. ", "bold"), sentence)]
    parts += [Text(f"note: {note}", style="yellow") for note in results["notes"]]
    return Group(*parts)


def table_text(results: Mapping[str, Any], width: int = 110) -> str:
    """The same as plain text, for a file."""
    console = Console(
        file=StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False
    )
    console.print(results_table(results))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _arms(results: Mapping[str, Any]) -> Table:
    """Fits 80 columns; tokens are those of an episode."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("arm", no_wrap=True)
    for heading in ("success % (95 % CI)", "score", "steps", "prompt", "cached", "written", "n", "errors"):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in results["arms"]:
        ci95 = words.interval(arm["success_ci95"])
        table.add_row(
            Text(arm["name"]),
            Text.assemble((words.percent(arm["success_rate"]), "bold"), f" ({ci95})" if ci95 else ""),
            words.number(arm["score"], 2),
            words.number(arm["steps"], 1),
            *(words.number(arm[name]) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")),
            words.number(arm["n"]),
            Text(str(arm["errors"]), style="red" if arm["errors"] else "dim"),
        )
    return table


def _comparison(row: Mapping[str, Any]) -> Text:
    before, _, verdict = words.sentence(row).partition(" pairs: ")
    text = Text(before + " pairs: ")
    return text.append(verdict, style=_VERDICT_STYLES[row["verdict"]])
