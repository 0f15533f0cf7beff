"""A hint and its lineage."""

import hashlib
import re
from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = "1"


def normalise(text: str) -> str:
    """The text by which two hints are the same: lower case, single blanks, no list mark, no closing full stop."""
    return re.sub(r"\s+", " ", text).strip().lstrip("-*• ").rstrip(".!").strip().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """One general, imperative piece of advice for one kind of task."""

    text: str
    kind: str
    env: str
    sources: tuple[str, ...]
    """Ids of the failed trajectories that it was drawn from."""
    writer: str
    """Who wrote it: the model's name, or "diagnostician"."""
    count: int = 1
    """How often it was written, near-duplicates included."""
    uses_oracle: bool = False
    """Whether the writer saw a gold plan."""

    @property
    def id(self) -> str:
        """Same words for the same kind: same id, whoever wrote it."""
        return hashlib.sha256(f"{self.env}|{self.kind}|{normalise(self.text)}".encode()).hexdigest()[:12]


HINT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("kind", pa.string()),
        ("env", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("writer", pa.string()),
        ("count", pa.int32()),
        ("uses_oracle", pa.bool_()),
    ],
    metadata={"offbook_record": "hint", "offbook_schema_version": SCHEMA_VERSION},
)


def to_row(hint: Hint) -> dict:
    return {name: getattr(hint, name) for name in HINT_SCHEMA.names} | {"sources": list(hint.sources)}


def from_row(row: dict) -> Hint:
    return Hint(**{k: v for k, v in row.items() if k not in ("id", "sources")}, sources=tuple(row["sources"]))
