"""Self-recall of a finished run: of train tasks that base lost and a hinted arm won, how often a hint that was written from this very task was
among those given. What chance would give stands beside it. Says how far retrieval finds its way back, not whether the hint did it.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actors.store import TRAJECTORIES
from actors.trajectory import EndReason
from distill.bank_location import BANK
from distill.hints.bank import Bank, BankError
from distill.statistics import wilson_interval

_COLUMNS = ["id", "task", "seed", "success", "end", "hints"]
_ROLLOUT = "train-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What counts of an episode here."""

    id: str
    task: str
    kind: str
    seed: int
    success: bool
    hints: tuple[str, ...]
    """Ids, as given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    num: int
    of: int
    by_chance: float
    """Expected share if as many hints of the kind had been drawn blindly."""

    @property
    def document(self) -> dict[str, Any]:
        low, high = wilson_interval(self.num, self.of) if self.of else (0.0, 1.0)
        share = self.num / self.of if self.of else None
        return {
            "num": self.num,
            "of": self.of,
            "share": share,
            "ci95": [low, high],
            "by_chance": self.by_chance,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfRecall:
    flips: Share
    """Lost by base and won by the arm."""
    still_lost: Share
    """Lost by both."""


def self_recall(base: Iterable[Played], hinted: Iterable[Played], bank: Bank) -> SelfRecall:
    """Episodes that the machinery lost must not be among either."""
    base = list(base)
    lost = {(one.task, one.seed) for one in base if not one.success}
    again = [one for one in hinted if (one.task, one.seed) in lost and one.hints]
    # By episode as well: a bank without lineage names no task.
    task_of = {one.id: one.task for one in base}
    written_from = {
        hint.id: frozenset((*hint.tasks, *(task_of[s] for s in hint.sources if s in task_of)))
        for hint in bank.hints
    }
    return SelfRecall(
        flips=_share([one for one in again if one.success], bank, written_from),
        still_lost=_share([one for one in again if not one.success], bank, written_from),
    )


def recall_of_run(folder: Path) -> dict[str, SelfRecall]:
    """Of every hinted arm that played the train tasks, by name.

    Raises:
        BankError: the run is not there, not finished, or has none.
    """
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        stages, store = run["stages"], folder / run["store"]
    except FileNotFoundError:
        raise BankError(
            f"{folder} is no run: it holds no run.json; name a study's folder, such as runs/demo"
        ) from None
    except (ValueError, KeyError) as error:
        raise BankError(f"{folder / 'run.json'} is damaged ({error}); run the study again") from None
    others = [
        name for name in stages if name.startswith(_ROLLOUT) and name not in ("train-base", "train-reroll")
    ]
    if "train-base" not in stages or "hints" not in stages or not others:
        raise BankError(
            f"no arm of {folder} plays train tasks with hints from base's failures; `teacher` as a student's source does"
        )
    bank = Bank.load(store / stages["hints"] / BANK)
    base = _played(store / stages["train-base"])
    found = {name.removeprefix(_ROLLOUT): _played(store / stages[name]) for name in others}
    return {
        name: self_recall(base, hinted, bank)
        for name, hinted in found.items()
        if any(one.hints for one in hinted)
    }


def _share(played: list[Played], bank: Bank, written_from: Mapping[str, frozenset[str]]) -> Share:
    own = [any(one.task in written_from.get(hint, ()) for hint in one.hints) for one in played]
    chances = [_chance(one, bank, written_from) for one in played]
    return Share(num=sum(own), of=len(played), by_chance=sum(chances) / len(chances) if chances else 0.0)


def _chance(one: Played, bank: Bank, written_from: Mapping[str, frozenset[str]]) -> float:
    kind = bank.for_kind(one.kind)
    own = sum(one.task in written_from[hint.id] for hint in kind)
    drawn = min(len(one.hints), len(kind))
    return 1 - math.comb(len(kind) - own, drawn) / math.comb(len(kind), drawn) if drawn else 0.0


def _played(folder: Path) -> list[Played]:
    file = folder / TRAJECTORIES
    if not file.is_file():
        raise BankError(f"{file} is not there yet; run the study to its end")
    rows = pq.read_table(file, columns=_COLUMNS).to_pylist()
    return [
        Played(
            id=row["id"],
            task=f"{row['task']['env']}/{row['task']['id']}",
            kind=row["task"]["kind"],
            seed=row["seed"],
            success=row["success"],
            hints=tuple(hint["id"] for hint in row["hints"]),
        )
        for row in rows
        if row["end"] != EndReason.ERROR
    ]
