"""The bank: every hint written, near-duplicates folded, ordered by how often each was written. Frozen; knows nothing of retrieval."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
from rapidfuzz import fuzz, process

from actors.trajectory import Trajectory
from distill.atomic import replacing
from distill.hints.config import BankConfig
from distill.hints.hint import HINT_SCHEMA, Hint, Writing, from_row, hint_of, normalise, to_row
from envs.panel import Panel

_NEGATION = re.compile(r"\b(?:not|never|no|don't|avoid|without|stop|instead)\b")


_READABLE_VERSIONS = ("1", "2")
_NONE: Mapping[str, str] = MappingProxyType({})


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

    def limited(self, config: BankConfig) -> "Bank":
        """What `min_count` and `max_per_kind` leave of it; nothing is folded."""
        groups: dict[tuple[str, str], list[Hint]] = defaultdict(list)
        for hint in self.hints:
            groups[hint.env, hint.kind].append(hint)
        return Bank(hints=tuple(hint for group in groups.values() for hint in _limited(group, config)))

    def require_hints(self) -> None:
        """Raise `BankError` if there is no hint at all."""
        if not self.hints:
            raise BankError(
                "the bank is empty: no failure of the base rollouts became a hint; check that base fails at some train tasks "
                "(more tasks, a harder split) and that the writer wrote (its summary is in writer.json beside the bank)"
            )

    def evaluation_sources(
        self, panel: Panel, at_hand: Mapping[str, str] = _NONE
    ) -> Iterator[tuple[Hint, str, str | None]]:
        """(hint, source, task) for every source whose task is in the panel, and with None for a task that nobody names.

        `at_hand`: task keys by episode; where an episode is not among them, what the lineage says of its task counts. Advice without any
        source passes.
        """
        evaluated = {task.key for task in panel.tasks}
        for hint in self.hints:
            told = {writing.source: writing.task for writing in hint.lineage}
            for source in hint.sources:
                task = at_hand.get(source) or told.get(source) or None
                if task is None or task in evaluated:
                    yield hint, source, task

    def check_no_evaluation_task(self, trajectories: Iterable[Trajectory], panel: Panel) -> None:
        """Raise `BankError` if a hint was drawn from a task of the panel, or from an episode whose task is not known."""
        self.check_sources(panel, {trajectory.id: trajectory.task.key for trajectory in trajectories})

    def check_sources(self, panel: Panel, at_hand: Mapping[str, str] = _NONE) -> None:
        """The same, given task keys by episode."""
        for hint, source, task in self.evaluation_sources(panel, at_hand):
            if task is None:
                raise BankError(
                    f"hint {hint.text!r} comes from episode {source}, which is not among the {len(at_hand)} at hand, "
                    "and the bank does not name its task; pass every rollout that hints were mined from"
                )
            raise BankError(
                f"hint {hint.text!r} was mined from {task}, a task of the evaluation panel {panel.name}; "
                "mine hints from train tasks only"
            )

    def merge(
        self,
        other: "Bank",
        config: BankConfig = BankConfig(),
        *,
        panel: Panel | None = None,
        at_hand: Mapping[str, str] = _NONE,
    ) -> "Bank":
        """Both banks as one, folded anew from what was written; what both hold of the same failure counts once.

        Commutative, and for a bank of the same `config` idempotent; associative unless `min_count` or `max_per_kind` drops hints on the
        way. Where the two tell differently of the same writing, the larger record stays, by its fields in their order. Raises `BankError`
        where a hint was mined from a task of `panel`.
        """
        merged = build_bank([*self.hints, *other.hints], config)
        if panel is not None:
            merged.check_sources(panel, at_hand)
        return merged

    def save(self, path: Path) -> None:
        """The whole file or none: a kill while writing leaves what was there before."""
        table = pa.Table.from_pylist([to_row(hint) for hint in self.hints], schema=HINT_SCHEMA)
        table = table.replace_schema_metadata(
            {**(HINT_SCHEMA.metadata or {}), b"offbook_bank_sha256": self.sha256.encode()}
        )
        with replacing(path) as draft:
            pq.write_table(table, draft)

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
        version = metadata.get(b"offbook_schema_version", b"").decode()
        if version not in _READABLE_VERSIONS:
            raise BankError(
                f"{path} has hint schema version {version!r}, this Offbook reads {' and '.join(_READABLE_VERSIONS)}; "
                "read it with the Offbook that wrote it and export JSONL there"
            )
        bank = cls(hints=tuple(from_row(row) for row in table.to_pylist()))
        if (written := metadata.get(b"offbook_bank_sha256", b"").decode()) != bank.sha256:
            raise BankError(
                f"{path} was edited: it says {written[:12]} but its hints hash to {bank.sha256[:12]}; build it again"
            )
        return bank


def build_bank(hints: Iterable[Hint], config: BankConfig = BankConfig()) -> Bank:
    """Fold equal and nearly equal hints of each kind into the most frequent wording.

    Hints are taken apart into what was written and folded from there, so that banks built on the way do not show. The same words after the
    same failure by the same writer are one writing, wherever they come from.
    """
    groups: dict[tuple[str, str], list[Writing]] = defaultdict(list)
    for hint in hints:
        groups[hint.env, hint.kind] += hint.writings
    kept: list[Hint] = []
    for env, kind in sorted(groups):
        folded = _fold(groups[env, kind], config.similarity, kind=kind, env=env)
        kept += _limited(folded, config)
    return Bank(hints=tuple(kept))


def ordered_bank(hints: Iterable[Hint]) -> Bank:
    """The hints as they are, in the bank's order; only those of the same id are joined."""
    groups: dict[str, list[Hint]] = defaultdict(list)
    for hint in hints:
        groups[hint.id].append(hint)
    joined = [group[0] if len(group) == 1 else _joined(group) for group in groups.values()]
    return Bank(hints=tuple(sorted(joined, key=lambda hint: (hint.env, hint.kind, *_rank(hint)))))


def _limited(ranked: Sequence[Hint], config: BankConfig) -> list[Hint]:
    return [hint for hint in ranked if hint.count >= config.min_count][: config.max_per_kind]


def near_duplicate(a: str, b: str, similarity: float) -> bool:
    """Whether two texts are alike in the sense of the bank."""
    a, b = comparable(a), comparable(b)
    # "Do not open ..." and "Open ..." are near in letters and opposite in advice.
    return forbids(a) == forbids(b) and fuzz.ratio(a, b, score_cutoff=similarity) >= similarity


def comparable(text: str) -> str:
    """What of a text decides likeness. What a slot is called ({item}, {object}) is the writer's whim and would hide or feign it."""
    return re.sub(r"\{[^{}]*\}", "{}", normalise(text))


def forbids(text: str) -> bool:
    """Whether it advises against something; texts that differ in this are never alike."""
    return bool(_NEGATION.search(text))


def _fold(writings: Iterable[Writing], similarity: float, *, kind: str, env: str) -> list[Hint]:
    by_words: dict[str, list[Writing]] = defaultdict(list)
    for writing in _distinct(writings):
        by_words[normalise(writing.text)].append(writing)
    # Of one id's spellings (case, full stop) the smallest, so that the order of arrival does not show.
    exact = [
        hint_of(group, min(writing.text for writing in group), kind=kind, env=env)
        for group in by_words.values()
    ]
    homes: list[list[Hint]] = []
    leaders: dict[bool, tuple[list[str], list[int]]] = {True: ([], []), False: ([], [])}
    # The most frequent wording leads its group; ties by id, never by the order of arrival.
    for hint in sorted(exact, key=_rank):
        key = comparable(hint.text)
        keys, places = leaders[forbids(key)]
        match = next(process.extract_iter(key, keys, scorer=fuzz.ratio, score_cutoff=similarity), None)
        if match is None:
            keys.append(key)
            places.append(len(homes))
            homes.append([hint])
        else:
            homes[places[match[2]]].append(hint)
    folded = [
        group[0] if len(group) == 1 else hint_of(_lineage(group), group[0].text, kind=kind, env=env)
        for group in homes
    ]
    return sorted(folded, key=_rank)


def _joined(group: Sequence[Hint]) -> Hint:
    first = group[0]
    return hint_of(
        _distinct(writing for hint in group for writing in hint.writings),
        min(hint.text for hint in group),
        kind=first.kind,
        env=first.env,
    )


def _lineage(group: Sequence[Hint]) -> list[Writing]:
    return [writing for hint in group for writing in hint.lineage]


def _distinct(writings: Iterable[Writing]) -> list[Writing]:
    """Each writing once, as its largest record tells it: a choice that does not depend on the order in which banks are merged."""
    largest: dict[tuple[str, str, str, str], Writing] = {}
    for writing in writings:
        key = (writing.source, writing.writer, writing.prompt_sha256, normalise(writing.text))
        largest[key] = max(largest.get(key, writing), writing)
    return list(largest.values())


def _rank(hint: Hint) -> tuple[int, str]:
    return (-hint.count, hint.id)
