"""Sends what is new in a run's `metrics.jsonl` to one tracker and remembers how far it came, so that nothing is sent twice."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill.atomic import write_atomically
from distill.run_metrics import METRICS, read_metrics
from distill.tracking.base import TrackedRun, Tracker, TrackerError, make_tracker
from distill.tracking.config import TrackerConfig, TrackerName
from distill.tracking.rows import row_of

log = logging.getLogger(__name__)

STATE = "tracked.json"
FILES = ("report/results.json", "report/table.txt", "report/report.html", METRICS)
_LINES_AT_ONCE = 500


class Feed:
    """One run and one tracker, opened when there is something to tell.

    A process that dies between the tracker's answer and the note of it sends up to 500 lines again; nothing else is sent twice.
    """

    def __init__(
        self,
        run_dir: Path,
        name: TrackerName,
        config: TrackerConfig,
        make: Callable[[TrackerName], Tracker] = make_tracker,
    ):
        self._run_dir, self._name, self._config = run_dir, name, config
        self._place = ":".join([name, config.project, *([config.uri] if config.uri else [])])
        self._make = make
        self._tracker: Tracker | None = None

    def send(self) -> int:
        """Tell what is new; returns the number of lines. Raises `TrackerError`."""
        lines = read_metrics(self._run_dir)
        sent = self._state().get("sent", 0)
        if sent > len(lines):
            raise TrackerError(
                f"{self._run_dir / METRICS} has {len(lines)} lines and {sent} were sent to {self._name}; "
                f"delete {self._run_dir / STATE} to send them as a new run"
            )
        current = _current_stages(self._run_dir)
        for start in range(sent, len(lines), _LINES_AT_ONCE):
            part = lines[start : start + _LINES_AT_ONCE]
            rows = [row_of(line) for line in part if _is_current(line, current)]
            tracker = self._open()
            self._guarded(lambda rows=rows, tracker=tracker: tracker.log(rows))  # type: ignore[misc]
            self._remember(sent=start + len(part))
        return len(lines) - sent

    def finish(self) -> None:
        """Send the run's files where they have changed, and close. Raises `TrackerError`."""
        files = {name: self._run_dir / name for name in FILES if (self._run_dir / name).is_file()}
        hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
        before = self._state().get("files", {})
        for name in [name for name in files if hashes[name] != before.get(name)]:
            tracker = self._open()
            self._guarded(lambda name=name, tracker=tracker: tracker.log_file(files[name]))  # type: ignore[misc]
        if self._tracker is not None:
            self._guarded(self._tracker.finish)
            self._remember(files=hashes)
            self._tracker = None

    def _open(self) -> Tracker:
        if self._tracker is None:
            tracker = self._make(self._name)
            run = TrackedRun(
                name=self._run_dir.name,
                folder=self._run_dir,
                project=self._config.project,
                uri=self._config.uri,
                facts=_facts(self._run_dir),
                id=self._state().get("id"),
            )
            self._remember(id=self._guarded(lambda: tracker.start(run)))
            self._tracker = tracker
        return self._tracker

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            # The message may hold an address with a password in it: it is shown to those alone who ask for it.
            log.debug("%s failed", self._name, exc_info=True)
            raise TrackerError(
                f"tracker {self._name} failed with {type(error).__name__} (--log-level debug shows more); nothing of the run is lost, "
                f"send the rest with `offbook track {self._run_dir} --to {self._name}`"
            ) from None

    def _state(self) -> dict[str, Any]:
        return _read_state(self._run_dir).get(self._place, {})

    def _remember(self, **changes: Any) -> None:
        everything = _read_state(self._run_dir)
        own = everything.get(self._place, {}) | changes
        write_atomically(
            self._run_dir / STATE,
            json.dumps(everything | {self._place: own}, indent=1, sort_keys=True) + "\n",
        )


def _read_state(run_dir: Path) -> dict[str, Any]:
    path = run_dir / STATE
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise TrackerError(f"{path} is damaged ({error}); delete it to send the run as a new one") from None


def _run_document(run_dir: Path) -> Mapping[str, Any]:
    path = run_dir / "run.json"
    if not path.is_file():
        raise ValueError(
            f"{run_dir} is no run: it holds no run.json; name a study's folder such as runs/demo"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def _is_current(line: Mapping[str, Any], current: Mapping[str, str]) -> bool:
    """Lines of settings that the study has no longer are history. Attributions are no stages of the study itself."""
    return line.get("kind") == "attribution" or current.get(line["stage"]) == line["key"]


def _current_stages(run_dir: Path) -> dict[str, str]:
    """Keys of the study's stages by name."""
    stages = _run_document(run_dir).get("stages", {})
    return {name: folder.rpartition("-")[2] for name, folder in stages.items()}


def _facts(run_dir: Path) -> dict[str, str]:
    """Named one by one: whatever else the settings hold stays here."""
    document = _run_document(run_dir)
    config = document["config"]
    return {
        "config_sha256": document["config_sha256"],
        "env": config["env"]["name"],
        # A model's folder on this machine says nothing elsewhere, its name does.
        "model": Path(str(config["model"].get("model") or config["model"]["kind"])).name,
        "arms": ", ".join(config["arms"]),
        "seeds": ", ".join(str(seed) for seed in config["seeds"]),
    }
