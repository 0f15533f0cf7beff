"""Banks, hints and what is found about them, as text for a terminal and as JSON. Shows no character that a terminal would obey."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.cells import cell_len, chop_cells

from actors.trajectory import Trajectory
from distill.hints.bank import Bank
from distill.hints.bank_audit import Finding
from distill.hints.bank_import import BadLine
from distill.hints.comparison import BankDiff
from distill.hints.hint import Hint, to_row
from distill.printable import visible, visible_json

_HEAD = f"{'id':<12} {'count':>6} {'votes':>6} {'tasks':>6}  hint"
_INDENT = _HEAD.index("hint")
_NARROWEST = 20
"""Columns for a hint's words on a terminal that has not even these."""
_BAD_LINES_SHOWN = 20


def list_text(hints: Sequence[Hint], top: int | None = None, *, width: int | None) -> str:
    """A heading a kind and a line a hint; words longer than `width` go on below, `None` leaves them on their line."""
    if not hints:
        return "the bank holds no hints\n"
    lines = []
    for (env, kind), group in groupby(hints, key=lambda hint: (hint.env, hint.kind)):
        of_kind = list(group)
        lines.append(f"{visible(kind)} ({visible(env)}): {_number(len(of_kind), 'hint')}")
        lines.append(_HEAD)
        for hint in of_kind[:top]:
            tasks = str(len(hint.tasks)) if hint.tasks or not hint.sources else "?"
            figures = f"{hint.id:<12} {hint.count:>6} {hint.votes:>6} {tasks:>6}  "
            first, *rest = _folded(visible(hint.text), width)
            lines.append(figures + first)
            lines += [" " * _INDENT + line for line in rest]
        lines.append("")
    kinds = len({(hint.env, hint.kind) for hint in hints})
    lines.append(f"{_number(len(hints), 'hint')} of {_number(kinds, 'kind')}")
    return "\n".join(lines) + "\n"


def list_json(hints: Sequence[Hint], top: int | None = None) -> str:
    groups = groupby(hints, key=lambda hint: (hint.env, hint.kind))
    return visible_json([_summary(hint) for _, group in groups for hint in list(group)[:top]], indent=1)


def chosen(hints: Sequence[Hint], prefix: str) -> Hint:
    """The hint whose id starts with `prefix`; `ValueError` unless there is exactly one."""
    found = [hint for hint in hints if prefix and hint.id.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(f"no hint's id starts with {prefix!r}; `offbook hints list` shows them all")
    raise ValueError(
        f"{prefix!r} starts {len(found)} ids, among them {found[0].id} and {found[1].id}; give more of the id"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HintView:
    """One hint with what is known of where it comes from."""

    hint: Hint
    failures: Sequence[Trajectory]
    """Of its sources those at hand."""
    steps: int
    """Last turns of each."""
    shown: int | None
    """Lines of lineage; None for all."""

    def text(self) -> str:
        hint = self.hint
        lines = [
            visible(hint.text),
            "",
            f"id      {hint.id}",
            f"kind    {visible(hint.kind)} ({visible(hint.env)})",
            f"count   {_number(hint.count, 'writing')} after {_number(hint.votes, 'failure')} of {self._tasks()}",
            f"writer  {visible(hint.writer)}{', saw a gold plan' if hint.uses_oracle else ''}",
            *self._wordings(),
            *self._lineage(),
        ]
        for failure in self.failures:
            lines += ["", *_failure_lines(failure, self.steps)]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        failures = [
            {
                "id": failure.id,
                "task": failure.task.key,
                "goal": failure.task.goal,
                "end": str(failure.end),
                "turns": len(failure.turns),
                "last": [
                    {"reply": turn.reply, "observation": turn.observation}
                    for turn in _last(failure.turns, self.steps)
                ],
            }
            for failure in self.failures
        ]
        return visible_json(_summary(self.hint) | to_row(self.hint) | {"failures": failures}, indent=1) + "\n"

    def _tasks(self) -> str:
        known = self.hint.tasks
        return (
            _number(len(known), "task")
            if known or not self.hint.sources
            else "tasks that the bank does not name"
        )

    def _wordings(self) -> list[str]:
        counts: Counter[str] = Counter()
        for writing in self.hint.lineage:
            counts[writing.text] += writing.count
        if len(counts) < 2:
            return []
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return ["", "wordings", *(f"{count:>6}  {visible(text)}" for text, count in ranked)]

    def _lineage(self) -> list[str]:
        writings = self.hint.writings
        lines = ["", "failure           task, writer, prompt, tokens, price"]
        at_hand = {failure.id: failure.task.key for failure in self.failures}
        for writing in writings[: self.shown]:
            facts = [
                writing.task or at_hand.get(writing.source, "task not recorded"),
                writing.writer,
                f"prompt {writing.prompt_sha256[:12]}" if writing.prompt_sha256 else "",
                f"{writing.prompt_tokens}+{writing.completion_tokens} tokens"
                if writing.prompt_tokens
                else "",
                f"{writing.usd:.6f} USD" if writing.usd else "",
                f"{writing.count} times" if writing.count > 1 else "",
            ]
            told = ", ".join(fact for fact in facts if fact)
            lines.append(f"{visible(writing.source) or 'none named':<17} {visible(told)}")
        if left := len(writings) - len(writings[: self.shown]):
            lines.append(f"... and {left} more (--all)")
        return lines


def audit_text(bank: Bank, findings: Sequence[Finding]) -> str:
    lines = []
    for rule, group in groupby(findings, key=lambda finding: finding.rule):
        of_rule = list(group)
        lines.append(f"{rule}: {len(of_rule)}")
        for finding in of_rule:
            hint = finding.hint
            lines.append(f"  {hint.id} {visible(hint.kind)}: {visible(hint.text)}")
            lines.append(f"  {'':<12} {visible(finding.problem)}")
    hints = len({finding.hint.id for finding in findings})
    verdict = f"{_number(len(findings), 'finding')} about {hints} of {_number(len(bank.hints), 'hint')}"
    return (
        "\n".join([*lines, verdict if findings else f"nothing found in {_number(len(bank.hints), 'hint')}"])
        + "\n"
    )


def audit_json(bank: Bank, findings: Sequence[Finding]) -> str:
    rows = [
        {"rule": f.rule, "id": f.hint.id, "kind": f.hint.kind, "text": f.hint.text, "problem": f.problem}
        for f in findings
    ]
    return visible_json({"ok": not findings, "num_hints": len(bank.hints), "findings": rows}, indent=1)


def diff_text(diff: BankDiff) -> str:
    lines = []
    for mark, hints in (("only in A", diff.only_a), ("only in B", diff.only_b)):
        lines += _section(mark, [f"  {h.id} {visible(h.kind)}: {visible(h.text)} ({h.count})" for h in hints])
    reworded = [
        f"  {a.id} {visible(a.kind)}: {visible(a.text)} ({a.count})\n  {b.id} {'':{len(visible(a.kind))}}  {visible(b.text)} ({b.count})"
        for a, b in diff.reworded
    ]
    lines += _section("reworded", reworded)
    recounted = [
        f"  {a.id} {visible(a.kind)}: {visible(a.text)} ({a.count} to {b.count}, votes {a.votes} to {b.votes})"
        for a, b in diff.recounted
    ]
    lines += _section("counted otherwise", recounted)
    lines.append(f"the same: {diff.num_same}")
    return "\n".join(lines) + "\n"


def diff_json(diff: BankDiff) -> str:
    def pairs(hints: Sequence[tuple[Hint, Hint]]) -> list[dict[str, Any]]:
        return [{"a": _summary(a), "b": _summary(b)} for a, b in hints]

    document = {
        "same": diff.same,
        "num_same": diff.num_same,
        "only_a": [_summary(hint) for hint in diff.only_a],
        "only_b": [_summary(hint) for hint in diff.only_b],
        "reworded": pairs(diff.reworded),
        "recounted": pairs(diff.recounted),
    }
    return visible_json(document, indent=1) + "\n"


def print_bad_lines(bad: Sequence[BadLine]) -> None:
    if not bad:
        return
    print(f"{_number(len(bad), 'bad entry', 'bad entries')} left out:")
    for line in bad[:_BAD_LINES_SHOWN]:
        print(f"  {visible(line.where)}: {visible(line.problem)}")
    if len(bad) > _BAD_LINES_SHOWN:
        print(f"  ... and {len(bad) - _BAD_LINES_SHOWN} more")


def _summary(hint: Hint) -> dict[str, Any]:
    return {
        "id": hint.id,
        "env": hint.env,
        "kind": hint.kind,
        "count": hint.count,
        "votes": hint.votes,
        "tasks": list(hint.tasks),
        "writer": hint.writer,
        "uses_oracle": hint.uses_oracle,
        "text": hint.text,
    }


def _failure_lines(failure: Trajectory, steps: int) -> list[str]:
    shown = _last(failure.turns, steps)
    lines = [f"{failure.id}  {visible(failure.task.goal)}"]
    if len(shown) < len(failure.turns):
        lines.append(f"  ... {len(failure.turns) - len(shown)} turns before")
    for turn in shown:
        # Replies of some agents bring the prompt's own mark.
        lines += [f"  > {visible(turn.reply).removeprefix('> ')}", f"    {visible(turn.observation)}"]
    return [*lines, f"  ended by {failure.end}, score {failure.score:g}"]


def _last(turns: Sequence[Any], number: int) -> Sequence[Any]:
    return turns[max(0, len(turns) - max(0, number)) :]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}: {len(lines)}", *lines, ""] if lines else []


def _folded(text: str, width: int | None) -> list[str]:
    """The text in lines that stand beside the figures, by what characters take on a terminal."""
    if width is None:
        return [text]
    room = max(_NARROWEST, width - _INDENT)
    if cell_len(text) <= room:
        return [text]
    return textwrap.wrap(text, room) if text.isascii() else chop_cells(text, room)


def _number(count: int, one: str, several: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"
