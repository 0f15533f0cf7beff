"""What a retriever is, and the shape that most have: candidates of the task's kind, and a ranker that chooses among them."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.trajectory import GivenHint
from distill.hints.bank import Bank
from distill.hints.hint import Hint
from envs.task import Task


class Retriever(Protocol):
    def __call__(self, task: Task, opening: str) -> tuple[GivenHint, ...]: ...


class Ranker(Protocol):
    """Orders a kind's candidates for a task; decides which and how many are given."""

    def __call__(
        self, task: Task, opening: str, candidates: Sequence[Hint], k: int
    ) -> tuple[GivenHint, ...]: ...


@dataclass(frozen=True, kw_only=True)
class KindRetriever:
    """Candidates are all hints of the task's kind, however many; the ranker chooses."""

    bank: Bank
    rank: Ranker
    k: int

    def __call__(self, task: Task, opening: str) -> tuple[GivenHint, ...]:
        return self.rank(task, opening, self.bank.for_kind(task.kind), self.k)


def query_of(task: Task, opening: str) -> str:
    """What a task is matched by."""
    return f"{task.goal} {opening}"


def seeded(task: Task, seed: int, salt: str = "") -> random.Random:
    """Chance that is the same for the same task under the same seed."""
    digest = hashlib.sha256(f"{task.key}|{seed}|{salt}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def given(hints: Sequence[Hint]) -> tuple[GivenHint, ...]:
    return tuple(GivenHint(id=hint.id, text=hint.text) for hint in hints)
