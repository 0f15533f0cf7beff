"""Content-addressed stages: folder in, folder out, manifest last.

A stage's key is the hash of its name, its code's version, its slice of the config and its inputs' keys; the key names its folder in a store
that all studies share. A folder without a manifest is unfinished work that the stage itself picks up; a folder with one is done for good.
Knows nothing of what the stages do.
"""

import fcntl
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from actors.process_mark import ProcessMark
from distill.atomic import write_atomically

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"


class StageError(RuntimeError):
    """A stage cannot run or its folder is not what it should be; the message says what to do."""


def content_hash(value: Any) -> str:
    """SHA-256 hex of a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One node of a study. Equal keys mean equal work, whichever study asks."""

    name: str
    """Unique in a study and safe as a folder's name, such as `eval-teacher-s1`."""
    kind: str
    """What it does, such as `rollout`; names the code that runs it."""
    version: int
    """Raised by hand when the code of this kind changes what it writes."""
    config: Mapping[str, Any]
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)
    estimate: Mapping[str, float] = field(default_factory=dict)
    """What the stage will take, such as {"episodes": 200}; not part of the key."""

    @cached_property
    def key(self) -> str:
        inputs = {role: stage.key for role, stage in self.inputs.items()}
        return content_hash([self.kind, self.version, dict(self.config), inputs])[:16]

    @property
    def folder_name(self) -> str:
        # The kind, not the name: two studies that call the same work differently share its folder.
        return f"{self.kind}-{self.key}"


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """One line of a plan."""

    name: str
    key: str
    state: str
    """`cached`, `partial` or `to do`."""
    note: str = ""


class StageStore:
    """The folder of all stages' folders."""

    def __init__(self, root: Path):
        self.root = root

    def folder(self, stage: Stage) -> Path:
        return self.root / stage.folder_name

    def is_done(self, stage: Stage) -> bool:
        return (self.folder(stage) / MANIFEST).exists()

    def manifest(self, stage: Stage) -> dict[str, Any]:
        """The finished stage's manifest; `StageError` where it is missing or unreadable."""
        path = self.folder(stage) / MANIFEST
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise StageError(
                f"stage {stage.name} is not finished: {path} is missing; run the study first"
            ) from None
        except ValueError as error:
            raise StageError(
                f"{path} is damaged ({error}); delete the folder and run the study again"
            ) from None

    def status(self, stage: Stage) -> StageStatus:
        folder = self.folder(stage)
        note = ", ".join(f"{value:g} {name}" for name, value in stage.estimate.items())
        if self.is_done(stage):
            counts = self.manifest(stage)["counts"]
            note = ", ".join(f"{value} {name}" for name, value in counts.items() if isinstance(value, int))
            return StageStatus(name=stage.name, key=stage.key, state="cached", note=note)
        state = "partial" if folder.is_dir() and any(folder.iterdir()) else "to do"
        return StageStatus(name=stage.name, key=stage.key, state=state, note=note)

    @contextmanager
    def working(self, stage: Stage) -> Iterator[Path]:
        """The stage's folder, held by this process alone; released by the system when the process dies."""
        self.root.mkdir(parents=True, exist_ok=True)
        # Not "w": it would wipe out who holds the lock before it is ours.
        with lock_file(self.folder(stage)).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("%s: another process is working on it, waiting", stage.name)
                fcntl.flock(lock, fcntl.LOCK_EX)
            folder = self.folder(stage)
            folder.mkdir(exist_ok=True)
            # Who works here is for `offbook status` to read; what a killed process leaves says that it was killed.
            _replace(lock, json.dumps(ProcessMark.here().to_json() | {"since": time.time()}))
            try:
                yield folder
            finally:
                _replace(lock, "")

    def finish(self, stage: Stage, counts: Mapping[str, Any], seconds: float) -> None:
        """Hash what the stage wrote and write its manifest, last and atomically."""
        folder = self.folder(stage)
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
        document = {
            "stage": stage.name,
            "kind": stage.kind,
            "version": stage.version,
            "key": stage.key,
            "config": dict(stage.config),
            "inputs": {role: source.folder_name for role, source in stage.inputs.items()},
            "outputs": {
                str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": file_hash(path)}
                for path in files
            },
            "counts": dict(counts),
            "seconds": round(seconds, 3),
        }
        write_atomically(
            folder / MANIFEST, json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        )


def lock_file(folder: Path) -> Path:
    """Of a stage, by its folder. Beside it, so that it is none of its outputs."""
    return folder.parent / f".{folder.name}.lock"


def _replace(file: TextIO, text: str) -> None:
    file.truncate(0)
    file.write(text)
    file.flush()


RunStage = Callable[[Stage, Path, StageStore], Mapping[str, Any]]
"""(stage, its folder, store of its inputs) -> counts for the manifest."""
SHARE = "share"
"""A count that says how much of a batch's seconds a stage took, in any unit; it does not get into the manifest."""


@dataclass(frozen=True, kw_only=True)
class RunTogether:
    """The same for several stages of one kind at a time, such as those that share an expensive start."""

    run: Callable[[Sequence[tuple[Stage, Path]], StageStore], Sequence[Mapping[str, Any]]]
    at_most: int | None = None


def run_stages(
    stages: Sequence[Stage],
    store: StageStore,
    runners: Mapping[str, RunStage],
    together: Mapping[str, RunTogether] | None = None,
    *,
    progressed: Callable[[], None] = lambda: None,
) -> None:
    """Run what is owed, in order, and call `progressed` after each batch; kinds in `together` are run with the neighbours of their kind that are owed
    and wait for none of them."""
    together = together or {}
    owed = [stage for stage in stages if not store.is_done(stage)]
    log.info("%d of %d stages are done already", len(stages) - len(owed), len(stages))
    position = 0
    while position < len(owed):
        stage = owed[position]
        batch = [stage]
        if stage.kind in together:
            batch = _neighbours(owed[position:], together[stage.kind].at_most)
        _run_batch(batch, store, runners, together)
        progressed()
        position += len(batch)


def _neighbours(owed: Sequence[Stage], at_most: int | None) -> list[Stage]:
    batch: list[Stage] = []
    for stage in owed[:at_most]:
        waits = any(source.key == other.key for source in stage.inputs.values() for other in batch)
        if stage.kind != owed[0].kind or waits:
            break
        batch.append(stage)
    return batch


def _run_batch(
    batch: Sequence[Stage],
    store: StageStore,
    runners: Mapping[str, RunStage],
    together: Mapping[str, RunTogether],
) -> None:
    # Equal work under two names is done once: the second finds the first's manifest.
    distinct = list({stage.key: stage for stage in batch if not store.is_done(stage)}.values())
    if not distinct:
        return
    with _held(distinct, store) as held:
        held = [(stage, folder) for stage, folder in held if not store.is_done(stage)]
        if not held:
            return
        names = ", ".join(stage.name for stage, _ in held)
        log.info("%s: starts", names)
        start = time.monotonic()
        if held[0][0].kind in together:
            counts = together[held[0][0].kind].run(held, store)
        else:
            counts = [runners[stage.kind](stage, folder, store) for stage, folder in held]
        seconds = time.monotonic() - start
        shares = [float(count.get(SHARE, 1)) for count in counts]
        for (stage, _), count, share in zip(held, counts, shares, strict=True):
            kept = {name: value for name, value in count.items() if name != SHARE}
            store.finish(stage, kept, seconds * share / sum(shares) if sum(shares) else 0.0)
        log.info(
            "%s: done in %.1f s: %s",
            names,
            seconds,
            counts[0] if len(counts) == 1 else f"{len(counts)} stages",
        )


@contextmanager
def _held(stages: Sequence[Stage], store: StageStore) -> Iterator[list[tuple[Stage, Path]]]:
    # Locks are taken in the order of keys, so that two processes with overlapping work cannot block one another.
    if not stages:
        yield []
        return
    first = min(stages, key=lambda stage: stage.key)
    rest = [stage for stage in stages if stage is not first]
    with store.working(first) as folder, _held(rest, store) as others:
        order = {stage.key: index for index, stage in enumerate(stages)}
        yield sorted([(first, folder), *others], key=lambda pair: order[pair[0].key])
