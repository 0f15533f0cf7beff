"""Each hint as the page shows it: where it came from, how often and in which words it was written, and what it is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

from distill.hints.hint import Hint, Writing
from distill.report.credit import credit_by_hint
from distill.report.inputs import ReportInputs

WORDINGS_SHOWN = 12
"""Of one hint; a bank that was folded loosely holds hints with hundreds of them."""


def hint_rows(inputs: ReportInputs, most: int) -> list[dict[str, Any]]:
    """The most frequent hints, the first `most` of them."""
    credited = credit_by_hint(inputs.attributions)
    ranked: Sequence[Hint] = sorted(inputs.hints, key=lambda hint: (-hint.count, hint.kind, hint.text))
    return [
        {
            "hint": hint,
            "shown": [inputs.failures[s] for s in hint.sources if s in inputs.failures],
            "others": sum(s not in inputs.failures for s in hint.sources),
            "credit": credited.get(hint.id, []),
            "lineage": _lineage(hint),
        }
        for hint in ranked[:most]
    ]


def _lineage(hint: Hint) -> dict[str, Any]:
    by_wording: dict[tuple[str, str], list[Writing]] = {}
    for writing in hint.writings:
        by_wording.setdefault((writing.text, writing.writer), []).append(writing)
    wordings = [_wording(text, writer, own) for (text, writer), own in by_wording.items()]
    ranked = sorted(wordings, key=lambda wording: (-wording["count"], wording["text"]))
    return {
        "kept": bool(hint.lineage),
        "tasks": len(hint.tasks),
        "wordings": ranked[:WORDINGS_SHOWN],
        "others": len(ranked[WORDINGS_SHOWN:]),
    }


def _wording(text: str, writer: str, writings: Sequence[Writing]) -> Mapping[str, Any]:
    prompts = sorted({writing.prompt_sha256[:12] for writing in writings if writing.prompt_sha256})
    return {
        "text": text,
        "writer": writer,
        "count": sum(writing.count for writing in writings),
        "sources": sorted({writing.source for writing in writings if writing.source}),
        "prompts": prompts,
        "uses_oracle": any(writing.uses_oracle for writing in writings),
    }
