"""The bank: every hint written, near-duplicates folded, ordered by how often each was written. Frozen; knows nothing of retrieval."""

import dataclasses
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rapidfuzz import fuzz

from actors.trajectory import Trajectory
from distill.hints.config import BankConfig
from distill.hints.hint import HINT_SCHEMA, Hint, from_row, normalise, to_row
from envs.panel import Panel

_NEGATION = re.compile(r"\b(?:not|never|no|don't|avoid|without|stop|instead)\b")


class BankError(ValueError):
    """The bank cannot be used; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Bank:
    """Hints by kind, most frequent first; equal counts in the order of their ids."""

    hints: tuple[Hint, ...]

    def __post_init__(self) -> None:
        ids = [hint.id for hint in self.hints]
        if len(set(ids)) != len(ids):
            twice = next(hint for hint in self.hints if ids.count(hint.id) > 1)
            raise BankError(f"the bank holds {twice.text!r} ({twice.kind}) twice; build it with build_bank")

    @cached_property
    def sha256(self) -> str:
        """Identity: what every hint says, for which kind, how often; neither order nor lineage counts."""
        rows = sorted([hint.id, hint.env, hint.kind, hint.text, hint.count] for hint in self.hints)
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def _by_kind(self) -> dict[str, tuple[Hint, ...]]:
        groups: dict[str, list[Hint]] = defaultdict(list)
        for hint in self.hints:
            groups[hint.kind].append(hint)
        return {kind: tuple(group) for kind, group in groups.items()}

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted(self._by_kind))

    def for_kind(self, kind: str) -> tuple[Hint, ...]:
        """The kind's hints, most frequent first; () for a kind that never failed."""
        return self._by_kind.get(kind, ())

    def require_hints(self) -> None:
        """Raise `BankError` if there is no hint at all."""
        if not self.hints:
            raise BankError(
                "the bank is empty: no failure of the base rollouts became a hint; check that base fails at some train tasks "
                "(more tasks, a harder split) and that the writer wrote (its summary is in writer.json beside the bank)"
            )

    def check_no_evaluation_task(self, trajectories: Iterable[Trajectory], panel: Panel) -> None:
        """Raise `BankError` if a hint was drawn from a task of the panel, or from an episode that is not among `trajectories`."""
        tasks = {trajectory.id: trajectory.task.key for trajectory in trajectories}
        evaluated = {task.key for task in panel.tasks}
        for hint in self.hints:
            for source in hint.sources:
                if source not in tasks:
                    raise BankError(
                        f"hint {hint.text!r} comes from episode {source}, which is not among the {len(tasks)} at hand; "
                        "pass every rollout that hints were mined from"
                    )
                if tasks[source] in evaluated:
                    raise BankError(
                        f"hint {hint.text!r} was mined from {tasks[source]}, a task of the evaluation panel {panel.name}; "
                        "mine hints from train tasks only"
                    )

    def merge(self, other: "Bank", config: BankConfig = BankConfig()) -> "Bank":
        """Both banks as one, near-duplicates folded again."""
        return build_bank([*self.hints, *other.hints], config)

    def save(self, path: Path) -> None:
        table = pa.Table.from_pylist([to_row(hint) for hint in self.hints], schema=HINT_SCHEMA)
        table = table.replace_schema_metadata(
            {**(HINT_SCHEMA.metadata or {}), b"offbook_bank_sha256": self.sha256.encode()}
        )
        pq.write_table(table, path)

    @classmethod
    def load(cls, path: Path) -> "Bank":
        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise BankError(f"no bank at {path}; run the hints stage first") from None
        except pa.ArrowInvalid as error:
            raise BankError(
                f"{path} is not a bank ({error}); delete it and run the hints stage again"
            ) from None
        metadata = table.schema.metadata or {}
        if metadata.get(b"offbook_record") != b"hint":
            raise BankError(
                f"{path} holds no hints (its record is {metadata.get(b'offbook_record', b'unknown').decode()!r})"
            )
        bank = cls(hints=tuple(from_row(row) for row in table.to_pylist()))
        if (written := metadata.get(b"offbook_bank_sha256", b"").decode()) != bank.sha256:
            raise BankError(
                f"{path} was edited: it says {written[:12]} but its hints hash to {bank.sha256[:12]}; build it again"
            )
        return bank


def build_bank(hints: Iterable[Hint], config: BankConfig = BankConfig()) -> Bank:
    """Fold equal and nearly equal hints of each kind into the most frequent wording; sources and counts add up."""
    groups: dict[tuple[str, str], list[Hint]] = defaultdict(list)
    for hint in hints:
        groups[hint.env, hint.kind].append(hint)
    kept: list[Hint] = []
    for key in sorted(groups):
        folded = [hint for hint in _fold(groups[key], config.similarity) if hint.count >= config.min_count]
        kept += folded[: config.max_per_kind]
    return Bank(hints=tuple(kept))


def near_duplicate(a: str, b: str, similarity: float) -> bool:
    """Whether two texts are alike in the sense of the bank."""
    return _alike(_comparable(a), _comparable(b), similarity)


def _comparable(text: str) -> str:
    # What a slot is called ({item}, {object}) is the writer's whim and would hide or feign likeness.
    return re.sub(r"\{[^{}]*\}", "{}", normalise(text))


def _alike(a: str, b: str, similarity: float) -> bool:
    # "Do not open ..." and "Open ..." are near in letters and opposite in advice.
    same_sense = bool(_NEGATION.search(a)) == bool(_NEGATION.search(b))
    return same_sense and fuzz.ratio(a, b, score_cutoff=similarity) >= similarity


def _fold(hints: Sequence[Hint], similarity: float) -> list[Hint]:
    exact: dict[str, list[Hint]] = defaultdict(list)
    for hint in hints:
        exact[hint.id].append(hint)
    # The most frequent wording leads its group; ties by id, never by the order of arrival.
    leaders = sorted((_merged(group) for group in exact.values()), key=_rank)
    folded: list[list[Hint]] = []
    keys: list[str] = []
    for hint in leaders:
        key = _comparable(hint.text)
        home = next((i for i, known in enumerate(keys) if _alike(key, known, similarity)), None)
        if home is None:
            folded.append([hint])
            keys.append(key)
        else:
            folded[home].append(hint)
    return sorted((_merged(group) for group in folded), key=_rank)


def _merged(group: Sequence[Hint]) -> Hint:
    """The first hint with everybody's lineage."""
    first = group[0]
    if len(group) == 1:
        return first
    writers = dict.fromkeys(writer for hint in group for writer in hint.writer.split("+"))
    return dataclasses.replace(
        first,
        # Of one id's spellings (case, full stop) the smallest, so that the order of arrival does not show.
        text=min(hint.text for hint in group if hint.id == first.id),
        sources=tuple(sorted({source for hint in group for source in hint.sources})),
        writer="+".join(sorted(writers)),
        count=sum(hint.count for hint in group),
        uses_oracle=any(hint.uses_oracle for hint in group),
    )


def _rank(hint: Hint) -> tuple[int, str]:
    return (-hint.count, hint.id)
