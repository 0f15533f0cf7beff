"""A frozen list of tasks with content hashes: what a number was measured on. Two results of different panels are never compared."""

import hashlib
import json
import lzma
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envs.task import Task

PANEL_VERSION = 1


class PanelMismatchError(ValueError):
    """The data or the result at hand belongs to another panel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    name: str
    dialect: str
    """How the world talks: ALFWorld `move` or `put`, WebShop protocol."""
    tasks: tuple[Task, ...]  # [num_tasks]
    hashes: tuple[str, ...]  # [num_tasks], SHA-256 hex of what each task is played on

    def __post_init__(self) -> None:
        if len(self.tasks) != len(self.hashes):
            raise ValueError(f"panel {self.name}: {len(self.tasks)} tasks but {len(self.hashes)} hashes")
        keys = [task.key for task in self.tasks]
        if len(set(keys)) != len(keys):
            raise ValueError(
                f"panel {self.name} holds a task twice: {next(k for k in keys if keys.count(k) > 1)}"
            )

    @property
    def sha256(self) -> str:
        """Identity of the panel: its tasks, their content and the dialect; neither its name nor the order counts."""
        rows = sorted(
            [task.key, task.kind, digest] for task, digest in zip(self.tasks, self.hashes, strict=True)
        )
        text = json.dumps([PANEL_VERSION, self.dialect, rows], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def require_same(self, other: "Panel") -> None:
        """Raise `PanelMismatchError` naming the first difference, unless both are the same panel."""
        if self.sha256 == other.sha256:
            return
        if self.dialect != other.dialect:
            raise PanelMismatchError(
                f"panel {self.name} speaks {self.dialect!r} but the data speaks {other.dialect!r}"
            )
        mine = dict(zip((t.key for t in self.tasks), self.hashes, strict=True))
        theirs = dict(zip((t.key for t in other.tasks), other.hashes, strict=True))
        changed = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
        first = changed[0] if changed else "a task's kind"
        raise PanelMismatchError(
            f"panel {self.name} ({self.sha256[:12]}) is not the panel at hand ({other.sha256[:12]}): {len(changed)} tasks differ, first {first}; "
            "fetch the same data again or make a new panel, and do not compare the two"
        )

    def to_document(self) -> dict[str, Any]:
        return {
            "version": PANEL_VERSION,
            "name": self.name,
            "dialect": self.dialect,
            "sha256": self.sha256,
            "tasks": [
                asdict(task) | {"sha256": digest}
                for task, digest in zip(self.tasks, self.hashes, strict=True)
            ],
        }

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_document(), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Panel":
        """Read a panel's file, plain or `.xz`; raises `PanelMismatchError` where it was edited."""
        document = json.loads(
            lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_text()
        )
        if document.get("version") != PANEL_VERSION:
            raise PanelMismatchError(
                f"{path} has panel version {document.get('version')}, this is version {PANEL_VERSION}"
            )
        rows = document["tasks"]
        panel = cls(
            name=document["name"],
            dialect=document["dialect"],
            tasks=tuple(Task(**{k: v for k, v in row.items() if k != "sha256"}) for row in rows),
            hashes=tuple(row["sha256"] for row in rows),
        )
        if panel.sha256 != document["sha256"]:
            raise PanelMismatchError(
                f"{path} was edited: it says {document['sha256'][:12]} but its tasks hash to {panel.sha256[:12]}"
            )
        return panel
