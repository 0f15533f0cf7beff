"""Which successes a student learns from, beyond what a row's own filter says: choices that look at all of an arm's episodes.

Reads Parquet a batch at a time and keeps a few numbers an episode. Deterministic: ties and draws go by a hash of the episode's identity.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.episode_files import read_trajectories
from distill.hints.bank import Bank, BankError
from distill.strip import RowFilter, why_left_out

LONGER = "a shorter success at the task was taken"
SEEN = "given a hint that was written from this very task"
TOO_MANY = "more rows than asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """An episode that could become a row."""

    id: str
    task: str
    num_steps: int
    hints: tuple[str, ...]
    """Ids of the hints that stood in its prompt."""

    @property
    def draw(self) -> str:
        # A hash and no generator: what is chosen among the episodes must not depend on which others there are.
        return hashlib.sha256(f"{self.task}|{self.id}".encode()).hexdigest()


def read_successes(folders: Sequence[Path], filters: RowFilter) -> list[Success]:
    """Every success of the rollouts that `filters` let through; an episode that comes twice comes once."""
    found = {
        t.id: Success(
            id=t.id, task=t.task.key, num_steps=t.num_steps, hints=tuple(hint.id for hint in t.shown_hints)
        )
        for folder in folders
        for t in read_trajectories(folder)
        if why_left_out(t, filters) is None
    }
    return list(found.values())


def tasks_of_hints(bank: Bank) -> dict[str, frozenset[str]]:
    """By hint id, the tasks whose failures it was written from. Raises `BankError` for a hint that knows its failures but not their tasks."""
    for hint in bank.hints:
        if hint.sources and not hint.tasks:
            raise BankError(
                f"hint {hint.text!r} does not know the tasks that it was written from (a bank of schema version 1), "
                "so hint_seen = 'drop' cannot tell them apart; write the hints again, or use hint_seen = 'keep'"
            )
    return {hint.id: frozenset(hint.tasks) for hint in bank.hints}


def left_out(
    successes: Iterable[Success],
    *,
    shortest: bool = False,
    at_most: int | None = None,
    seen: Mapping[str, frozenset[str]] | None = None,
) -> dict[str, str]:
    """By episode id, why it becomes no row. `seen` (tasks by hint id): episodes with a hint from their own task are left out."""
    reasons: dict[str, str] = {}
    kept = list(successes)
    if seen is not None:
        reasons |= {s.id: SEEN for s in kept if any(s.task in seen.get(hint, ()) for hint in s.hints)}
        kept = [s for s in kept if s.id not in reasons]
    if shortest:
        by_task: dict[str, list[Success]] = defaultdict(list)
        for success in kept:
            by_task[success.task].append(success)
        best = {min(group, key=lambda s: (s.num_steps, s.draw)).id for group in by_task.values()}
        reasons |= {s.id: LONGER for s in kept if s.id not in best}
        kept = [s for s in kept if s.id in best]
    if at_most is not None:
        reasons |= {s.id: TOO_MANY for s in sorted(kept, key=lambda s: s.draw)[at_most:]}
    return reasons
