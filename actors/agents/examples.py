"""Solved train tasks to show in the prompt: their records, their file, and which a task is shown. Knows no agent's format.

A step holds everything that some agent may say of it (goal, state, thought), so that one file serves every agent alike.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envs.task import Task

VERSION = 1


class ExamplesError(ValueError):
    """A file of examples cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleStep:
    """What was known and thought before an action, the action, and what came of it."""

    fields: tuple[tuple[str, str], ...]
    """By the names of the grammars' fields; "" for nothing to say."""
    action: str
    observation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A train task and one way to solve it."""

    task: Task
    played_on: str
    """SHA-256 of what the task was played on, as in a panel: the task itself, whatever it is called."""
    opening: str
    steps: tuple[ExampleStep, ...]  # [num_steps]


def write_examples(examples: Iterable[Example], path: Path) -> None:
    lines = [json.dumps(_to_row(example), ensure_ascii=False) for example in examples]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def load_examples(path: Path, env_name: str) -> tuple[Example, ...]:
    """The examples of a file, all of them of train tasks of this environment; raises `ExamplesError`."""
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExamplesError(
            f"cannot read agent.examples = {str(path)!r}: {error}; make the file with `offbook examples make STUDY`"
        ) from None
    examples = tuple(
        _from_line(line, f"{path} line {number}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    )
    for example in examples:
        if example.task.env != env_name:
            raise ExamplesError(
                f"{path} holds examples of {example.task.env!r}, but the study plays {env_name!r}; make others with `offbook examples make`"
            )
        if example.task.split != "train":
            raise ExamplesError(
                f"{path} holds {example.task.key} of the split {example.task.split!r}; examples come from train tasks alone"
            )
    return examples


def content_hash(examples: Sequence[Example]) -> str:
    """Of all that stands in the file, however it is written."""
    rows = [_to_row(example) for example in examples]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def choose(examples: Sequence[Example], task: Task, shots: int) -> tuple[Example, ...]:
    """The first of the task's kind, then the first of others. Never the task itself: its solution would stand in its own prompt."""
    others = [example for example in examples if example.task.key != task.key]
    # `sorted` keeps the file's order among equals.
    return tuple(sorted(others, key=lambda example: example.task.kind != task.kind)[:shots])


def _to_row(example: Example) -> dict[str, Any]:
    return {
        "version": VERSION,
        "task": asdict(example.task),
        "played_on": example.played_on,
        "opening": example.opening,
        "steps": [
            {"fields": dict(step.fields), "action": step.action, "observation": step.observation}
            for step in example.steps
        ],
    }


def _from_line(line: str, where: str) -> Example:
    try:
        row = json.loads(line)
        if row["version"] != VERSION:
            raise ExamplesError(
                f"{where} has version {row['version']}, this is version {VERSION}; make it again"
            )
        steps = tuple(
            ExampleStep(
                fields=tuple(sorted(step["fields"].items())),
                action=step["action"],
                observation=step["observation"],
            )
            for step in row["steps"]
        )
        return Example(
            task=Task(**row["task"]), played_on=row["played_on"], opening=row["opening"], steps=steps
        )
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ExamplesError(
            f"{where} is no example ({type(error).__name__}: {error}); files of examples are made by `offbook examples make`"
        ) from None
