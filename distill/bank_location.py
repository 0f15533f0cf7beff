"""Where a bank lies: a file, a run's folder, or the name of a study whose run is at hand; and the episodes that it was mined from."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.store import TRAJECTORIES
from distill.hints.bank import Bank, BankError
from distill.stages import MANIFEST

BANK = "bank.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedBank:
    path: Path
    bank: Bank
    rollouts: tuple[Path, ...]
    """Files of the episodes that were mined, as far as they are at hand."""


def locate_bank(name: str, runs: Path) -> LocatedBank:
    """The bank of a file, of a run's folder, or of the study `name` that was run in `runs`.

    Raises:
        BankError: there is none, or it cannot be read.
    """
    path = _path(name, runs)
    return LocatedBank(path=path, bank=Bank.load(path), rollouts=_mined(path))


def task_keys(rollouts: Iterable[Path]) -> dict[str, str]:
    """The task's key of every episode in these files, or in the `trajectories.parquet` of these folders, by the episode's id."""
    keys: dict[str, str] = {}
    for path in rollouts:
        file = path / TRAJECTORIES if path.is_dir() else path
        try:
            rows = pq.read_table(file, columns=["id", "task"]).to_pylist()
            keys |= {row["id"]: f"{row['task']['env']}/{row['task']['id']}" for row in rows}
        except (pa.ArrowInvalid, KeyError, TypeError) as error:
            raise BankError(
                f"{file} holds no episodes ({error}); name a {TRAJECTORIES} or its folder"
            ) from None
    return keys


def _path(name: str, runs: Path) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    for folder in (path, runs / name):
        if (folder / "run.json").is_file():
            return _of_run(folder)
        if (folder / BANK).is_file():
            return folder / BANK
    there = ", ".join(sorted(run.parent.name for run in runs.glob("*/run.json"))) or "none"
    raise BankError(
        f"{name} is no bank's file, no run's folder, and no study that was run in {runs} (studies there: {there})"
    )


def _of_run(folder: Path) -> Path:
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        stage, store = run["stages"].get("hints"), folder / run["store"]
    except (ValueError, KeyError, AttributeError) as error:
        raise BankError(f"{folder / 'run.json'} is damaged ({error}); run the study again") from None
    if stage is None:
        raise BankError(f"the study in {folder} has no hints: none of its arms needs them")
    if not (store / stage / BANK).is_file():
        raise BankError(
            f"the hints of {folder} are not written yet: there is no {store / stage / BANK}; run the study"
        )
    return store / stage / BANK


def _mined(path: Path) -> tuple[Path, ...]:
    """The base rollouts that a stage's manifest names beside the bank."""
    manifest = path.with_name(MANIFEST)
    if not manifest.is_file():
        return ()
    try:
        base = json.loads(manifest.read_text(encoding="utf-8"))["inputs"]["base"]
    except (ValueError, KeyError, TypeError):
        return ()
    file = path.parent.parent / base / TRAJECTORIES
    return (file,) if file.is_file() else ()
