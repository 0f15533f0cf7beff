"""One self-contained HTML file. Everything that models or data wrote is escaped, and a policy in the page forbids any script but ours."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from actors.trajectory import Trajectory
from distill.report import credit, words
from distill.report.canvas import colour_of
from distill.report.frontier_plot import frontier_words
from distill.report.heat import heat_map
from distill.report.hint_rows import hint_rows
from distill.report.inputs import ReportInputs
from distill.report.tokens import loss_words, token_view

_FOLDER = Path(__file__).parent
LONGEST_TEXT = 4_000
"""Characters of one observation or reply; the rest is counted, not shown."""
HINTS_SHOWN = 400
_BUTTON = re.compile(r"\[([^\[\]\n]{1,80})\]")

_ARM_FIELDS = (
    "env",
    "agent",
    "model",
    "adapter",
    "seeds",
    "hints",
    "invalid_rate",
    "retries",
    "missing",
    "ends",
)
_LEDGER_WORDS = {
    "prompt_tokens": "prompt tokens in all",
    "cached_tokens": "cached tokens in all",
    "completion_tokens": "written tokens in all",
}


def render_page(studies: Sequence[tuple[ReportInputs, Mapping[str, str]]]) -> str:
    """The report as HTML, the first study giving its name; of each its inputs and its plots by name, as SVG."""
    script = (_FOLDER / "page.js").read_text()
    parts = [
        _part(inputs, figures, at=f"s{number}-" if number else "")
        for number, (inputs, figures) in enumerate(studies)
    ]
    return (
        _environment()
        .get_template("page.html")
        .render(
            parts=parts,
            title=parts[0]["results"]["study"],
            summary=parts[0]["summary"],
            style=Markup((_FOLDER / "page.css").read_text()),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _part(inputs: ReportInputs, figures: Mapping[str, str], *, at: str) -> dict[str, Any]:
    """What the template says of one study; `at` keeps its anchors apart from the others'."""
    results = inputs.results
    word, sentence = words.answer(results)
    return {
        "at": at,
        "results": results,
        "inputs": inputs,
        "summary": inputs.summary or default_summary(inputs),
        "tied": words.tied(results),
        "stragglers": words.stragglers(results),
        "answer": {"word": word, "sentence": sentence, "class": word.lower().replace(" ", "-")},
        "arms": results["arms"],
        "success_rows": [r for r in results["comparisons"] if r["metric"] == "success"],
        "other_rows": [r for r in results["comparisons"] if r["metric"] != "success"],
        "figures": {name: Markup(svg) for name, svg in figures.items()},
        "heat": heat_map(results["kinds"]),
        "frontier": frontier_words(results["frontier"]),
        "hints": hint_rows(inputs, HINTS_SHOWN),
        "credits": credit.credit_summaries(inputs.attributions),
        "missing_credit": credit.missing_credit(results, inputs.attributions),
        "episodes": [_episode(t) for t in inputs.failures.values()],
        "example": _example(inputs),
        "training": facts_table(
            [(str(row.get("arm", "")), flatten(_readable(row))) for row in results["training"]], without="arm"
        ),
        "samples": [(arm, sample) for arm, samples in inputs.samples.items() for sample in samples],
        "setup": facts_table([(arm["name"], flatten(_setup(arm))) for arm in results["arms"]]),
        "ledger": results["ledger"],
        "stages": facts_table([(name, flatten(row)) for name, row in results["ledger"]["stages"].items()]),
    }


def default_summary(inputs: ReportInputs) -> str:
    """What was done, in two sentences."""
    results = inputs.results
    panel, hints = results["panel"], len(inputs.hints)
    arms = [arm["name"] for arm in results["arms"]]
    imported = "imported hints" in results["ledger"]["stages"].get("hints", {})
    origin = (
        f"was given an imported bank of {hints:,} short hints and played"
        if imported
        else f"played training tasks, its failures were turned into {hints:,} short hints, and it played again"
    )
    first = (
        f"A language-model agent {origin} as a teacher with hints in its prompt; "
        "students were then trained on successful episodes with every hint removed."
        if hints
        else "A language-model agent and its students played the same held-out tasks."
    )
    seeds = len(results["seeds"])
    return (
        f"{first} Below, {len(arms)} arms play the same {panel['num_tasks']:,} held-out tasks of {panel['name']} "
        f"under {seeds} seed{'s' if seeds != 1 else ''} and are compared pair by pair."
    )


_FOR_MACHINES = ("arm", "agent", "sources", "sha256", "seal")
"""Of a dataset's card: what stands elsewhere on the page, and hashes, which `results.json` holds and nobody reads in a narrow column."""


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    card = row.get("dataset")
    if not isinstance(card, Mapping):
        return dict(row)
    return {**row, "dataset": {name: value for name, value in card.items() if name not in _FOR_MACHINES}}


def flatten(row: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as (name, text) lines: `audit leaks`, `0`."""
    lines: list[tuple[str, str]] = []
    for key, value in row.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        lines += flatten(value, name + " ") if isinstance(value, Mapping) else [(name, plain(value))]
    return lines


def facts_table(columns: Sequence[tuple[str, list[tuple[str, str]]]], *, without: str = "") -> dict[str, Any]:
    """Columns of (name, text) lines as rows by name, in the order in which names first come; `rows` and `names`."""
    keys = dict.fromkeys(key for _, lines in columns for key, _ in lines if key != without)
    lookup = [dict(lines) for _, lines in columns]
    return {
        "names": [name for name, _ in columns],
        "rows": [(key, [lines.get(key, "") for lines in lookup]) for key in keys],
    }


def plain(value: Any) -> str:
    """Any value of a record as short text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(v) for v in value) or "none"
    return str(value)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        percent=words.percent,
        interval=words.interval,
        number=words.number,
        p_words=words.p_words,
        difference=words.difference,
        verdict_words=words.verdict_words,
        per_success=words.per_success,
        payback=words.payback,
        metric_words=words.METRIC_WORDS,
        arm_words=words.ARM_WORDS,
        arm_colour=colour_of,
        plain=plain,
        credit_bar=credit.bar,
        few_flips=credit.few,
        token_view=token_view,
        loss_words=loss_words,
    )
    environment.filters["cut"] = _cut
    environment.filters["buttons"] = _buttons
    return environment


def _cut(text: str | None) -> str:
    text = text or ""
    return (
        text
        if len(text) <= LONGEST_TEXT
        else f"{text[:LONGEST_TEXT]} ... ({len(text) - LONGEST_TEXT:,} more characters)"
    )


def _buttons(text: str) -> Markup:
    """What stands in brackets is something that the agent can press; the text itself is escaped."""
    pieces = _BUTTON.split(text)
    marked = [
        Markup("<kbd>{}</kbd>").format(piece) if n % 2 else escape(piece) for n, piece in enumerate(pieces)
    ]
    return Markup("").join(marked)


def _episode(trajectory: Trajectory) -> dict[str, Any]:
    turns = [
        {
            "number": number,
            "turn": turn,
            "fields": [(name, text) for name, text in turn.fields if name != "action"],
            "unread": turn.action is None and not turn.fields,
        }
        for number, turn in enumerate(trajectory.turns, start=1)
    ]
    return {"trajectory": trajectory, "turns": turns}


def _example(inputs: ReportInputs) -> dict[str, Any] | None:
    if inputs.example is None:
        return None
    columns = [(name, _episode(trajectory)) for name, trajectory in inputs.example.episodes.items()]
    first = columns[0][1]["trajectory"]
    return {
        "columns": columns,
        "task": first.task,
        "seed": first.seed,
        "opening": first.opening,
        "note": inputs.example.note,
    }


def _setup(arm: Mapping[str, Any]) -> dict[str, Any]:
    ledger = {_LEDGER_WORDS.get(key, key): value for key, value in arm["ledger"].items()}
    return {name: arm.get(name) for name in _ARM_FIELDS} | ledger
