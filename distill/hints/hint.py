"""A hint and its lineage."""

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.trajectory import Trajectory

SCHEMA_VERSION = "2"


def normalise(text: str) -> str:
    """The text by which two hints are the same: lower case, single blanks, no list mark, no closing full stop."""
    return " ".join(text.split()).lstrip("-*• ").rstrip(".!").strip().lower()


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Writing:
    """One time that a hint was written: in which words, after which failure, by whom, and what the reply cost."""

    source: str = ""
    """Id of the failed trajectory; empty where no failure is named, as for advice that a person wrote."""
    text: str
    writer: str
    prompt_sha256: str = ""
    """Hash of what the writer was asked; empty for rules and people, and where it was not recorded."""
    task: str = ""
    """Key of the task that failed; empty where it is not known."""
    prompt_tokens: int = 0
    """Of the whole reply, re-asks included: hints of one reply share it, so a sum takes each (source, writer, prompt) once."""
    completion_tokens: int = 0
    usd: float = 0.0
    uses_oracle: bool = False
    count: int = 1
    """More than 1 only where a record tells how often, and not after which failures."""


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
    lineage: tuple[Writing, ...] = ()
    """Every time that it was written, near-duplicates included; () in files of schema version 1."""

    def __post_init__(self) -> None:
        if not self.lineage:
            return
        told = sum(writing.count for writing in self.lineage)
        if told != self.count:
            raise ValueError(f"hint {self.text!r} says count {self.count} but its lineage adds up to {told}")
        if set(self.sources) != {writing.source for writing in self.lineage if writing.source}:
            raise ValueError(f"hint {self.text!r} names other sources than its lineage does")

    @property
    def id(self) -> str:
        """Same words for the same kind: same id, whoever wrote it."""
        return hashlib.sha256(f"{self.env}|{self.kind}|{normalise(self.text)}".encode()).hexdigest()[:12]

    @property
    def votes(self) -> int:
        """Distinct failures that say it, however often and in whatever words."""
        return len(set(self.sources))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Distinct tasks behind it, as far as they are known; one task that was lost under three seeds is three votes."""
        return tuple(sorted({writing.task for writing in self.lineage if writing.task}))

    @property
    def writings(self) -> tuple[Writing, ...]:
        """The lineage, or what can be told of it from a record that has none."""
        if self.lineage:
            return self.lineage
        sources = dict.fromkeys(self.sources)
        told = [self._writing(source, 1) for source in sources]
        untold = self.count - len(told)
        return tuple(told) if untold <= 0 else (*told, self._writing("", untold))

    def _writing(self, source: str, count: int) -> Writing:
        return Writing(
            source=source, text=self.text, writer=self.writer, uses_oracle=self.uses_oracle, count=count
        )


def written_hint(
    text: str,
    failure: "Trajectory",
    writer: str,
    *,
    prompt_sha256: str = "",
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
    usd: float = 0.0,
    uses_oracle: bool = False,
) -> Hint:
    """A hint as it comes from its writer: drawn from one failure, once."""
    writing = Writing(
        source=failure.id,
        text=text,
        writer=writer,
        prompt_sha256=prompt_sha256,
        task=failure.task.key,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        usd=usd,
        uses_oracle=uses_oracle,
    )
    return hint_of([writing], text, kind=failure.task.kind, env=failure.task.env)


def hint_of(writings: "Iterable[Writing]", text: str, *, kind: str, env: str) -> Hint:
    """The hint that stands for all these writings, in the words of `text`."""
    lineage = tuple(sorted(writings))
    writers = {name for writing in lineage for name in writing.writer.split("+")}
    return Hint(
        text=text,
        kind=kind,
        env=env,
        sources=tuple(sorted({writing.source for writing in lineage if writing.source})),
        writer="+".join(sorted(writers)),
        count=sum(writing.count for writing in lineage),
        uses_oracle=any(writing.uses_oracle for writing in lineage),
        lineage=lineage,
    )


_WRITING = pa.struct(
    [
        ("source", pa.string()),
        ("text", pa.string()),
        ("writer", pa.string()),
        ("prompt_sha256", pa.string()),
        ("task", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("usd", pa.float64()),
        ("uses_oracle", pa.bool_()),
        ("count", pa.int64()),
    ]
)
HINT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("kind", pa.string()),
        ("env", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("writer", pa.string()),
        ("count", pa.int64()),
        ("uses_oracle", pa.bool_()),
        ("lineage", pa.list_(_WRITING)),
    ],
    metadata={"offbook_record": "hint", "offbook_schema_version": SCHEMA_VERSION},
)


def to_row(hint: Hint) -> dict:
    """A dict of `HINT_SCHEMA`."""
    lists = {"sources": list(hint.sources), "lineage": [asdict(writing) for writing in hint.lineage]}
    return {name: getattr(hint, name) for name in HINT_SCHEMA.names if name not in lists} | lists


def from_row(row: dict) -> Hint:
    """The record of a dict made by `to_row` or read from Parquet; of schema version 1 as well, which has no lineage."""
    plain = {name: value for name, value in row.items() if name not in ("id", "sources", "lineage")}
    lineage = tuple(Writing(**writing) for writing in row.get("lineage") or ())
    return Hint(**plain, sources=tuple(row["sources"]), lineage=lineage)
