"""Checkpoints of one adapter in training: whole or not there, the newest few kept, none trusted that does not check.

Holds tensors by name and knows nothing of the workers that they came from, so that any number of workers goes on from them.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

STATE = "state.safetensors"
ABOUT = "checkpoint.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a checkpoint says of itself."""

    step: int
    """Steps taken."""
    key: str
    """Of the job; another job's checkpoint is not gone on from."""
    seconds: float
    """Spent on steps so far."""
    num_workers: int
    """That made it, for the reader alone."""
    sha256: str
    """Of the tensors' file."""


def write_checkpoint(
    folder: Path,
    tensors: Mapping[str, Any],
    *,
    step: int,
    key: str,
    seconds: float,
    num_workers: int,
    keep: int,
) -> Path:
    """Into a folder of its own under `folder`, which appears when all of it is on the disk; older ones beyond `keep` go."""
    from safetensors.torch import save_file

    draft = folder / f".partial-{step:06d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file(dict(tensors), draft / STATE)
    about = About(step=step, key=key, seconds=seconds, num_workers=num_workers, sha256=_hash(draft / STATE))
    (draft / ABOUT).write_text(json.dumps(asdict(about), indent=2))
    for file in draft.iterdir():
        _sync(file)
    whole = folder / f"step-{step:06d}"
    shutil.rmtree(whole, ignore_errors=True)  # a damaged one of the same step, taken again
    draft.rename(whole)
    _sync(folder)
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old)
    return whole


def find_checkpoint(folder: Path, key: str) -> tuple[Path, About] | None:
    """The newest whole checkpoint of the job; damaged ones are named in the log and passed over."""
    return next(_whole(folder, key), None)


def read_state(checkpoint: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(checkpoint / STATE)


def _whole(folder: Path, key: str) -> Iterator[tuple[Path, About]]:
    for checkpoint in _newest_first(folder):
        try:
            about = About(**json.loads((checkpoint / ABOUT).read_text()))
            if about.key == key and _hash(checkpoint / STATE) == about.sha256:
                yield checkpoint, about
                continue
            reason = "another job's" if about.key != key else "its tensors are not those that were written"
        except (OSError, ValueError, TypeError) as error:
            reason = str(error)
        logger.warning("checkpoint %s is passed over: %s", checkpoint, reason)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
