"""The columns of a study: who plays the held-out panel. Six are built in; a study adds its own as `[arm.NAME]` tables.

Knows settings only. What an arm needs before it can play is planned in `distill.study`.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from distill.hints.config import RetrieverConfig
from distill.strip import RowFilter

REROLL = "reroll"
"""A second, unhinted try at the tasks that base failed: a source of rows, not an arm."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class HintedArm(_Frozen):
    """Plays with hints in its prompt: a teacher, a control, or a student that is given hints after all."""

    kind: Literal["hinted"] = "hinted"
    retriever: RetrieverConfig = RetrieverConfig()
    """In a study's file, what is left out here is taken from the study's own `[retriever]`."""
    student: str | None = None
    """The student arm whose adapter plays; None: the model as it is."""


class StudentArm(_Frozen):
    """Plays without hints, with an adapter trained on successes at train tasks."""

    kind: Literal["student"] = "student"
    sources: tuple[str, ...] = Field(min_length=1)
    """Whose successes: "base", "reroll" (base's second try), "teacher", or a hinted arm of the study that plays the model as it is."""
    strip: bool = True
    """Train without the hints. False keeps them in the training prompts: a control, and no distillation."""
    rows: Annotated[int, Field(ge=1)] | str | None = None
    """At most so many rows, or as many as the student arm of this name has; None: all. Chosen by hash, the same under every seed."""
    shortest: bool = False
    """Of a task's successes only the one with the fewest steps."""
    hint_seen: Literal["keep", "drop"] = "keep"
    """What becomes of a success whose prompt had a hint that was written from a failure at this very task."""
    filters: RowFilter = RowFilter()


ArmConfig = Annotated[HintedArm | StudentArm, Field(discriminator="kind")]

BUILT_IN = ("base", "teacher", "baseline", "distill", "teacher_random", "best_of_2")
_STUDENTS = {
    "baseline": StudentArm(sources=("base",)),
    "distill": StudentArm(sources=("teacher",)),
    "best_of_2": StudentArm(sources=("base", REROLL)),
}


def built_in(name: str, retriever: RetrieverConfig) -> HintedArm | StudentArm | None:
    """What a built-in name means under the study's retriever; None for `base`, which is the model as it is."""
    if name == "base":
        return None
    if name in _STUDENTS:
        return _STUDENTS[name]
    control = {"name": "other_kind"} if name == "teacher_random" else {}
    return HintedArm(retriever=retriever.model_copy(update=control))


def in_words(arm: HintedArm | StudentArm) -> str:
    """One line for tables and pages."""
    if isinstance(arm, HintedArm):
        player = f"the student {arm.student}" if arm.student else "the model as it is"
        return f"{player} with hints chosen by {arm.retriever.name}, k = {arm.retriever.k}"
    parts = [f"student trained on successes of {' and '.join(arm.sources)}"]
    parts += [] if arm.strip else ["hints kept in the training prompts"]
    parts += [f"as many rows as {arm.rows}"] if isinstance(arm.rows, str) else []
    parts += [f"at most {arm.rows} rows"] if isinstance(arm.rows, int) else []
    parts += ["the shortest of each task"] if arm.shortest else []
    parts += ["none whose prompt had a hint from its own task"] if arm.hint_seen == "drop" else []
    filters = arm.filters.model_dump(exclude_none=True)
    parts += [f"{name.replace('_', ' ')} {value}" for name, value in filters.items()]
    return ", ".join(parts)


def same_hints(a: HintedArm | StudentArm | None, b: HintedArm) -> bool:
    """Whether an arm gives what another one gives, to the same player; settings that its retriever does not read do not count."""
    return (
        isinstance(a, HintedArm)
        and a.student == b.student
        and a.retriever.decisive == b.retriever.decisive
        and a.retriever.llm.model == b.retriever.llm.model
    )


def short_hash(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:6]
