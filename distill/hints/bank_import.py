"""Text in, bank out: JSONL as `exchange` writes it or by hand, or a plain JSON of texts by kind. Says which line is wrong."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from distill.hints.bank import Bank, BankError, ordered_bank
from distill.hints.hint import Hint, Writing, hint_of, normalise
from distill.printable import visible

_MOST_NAMED = 3
"""Bad lines that an error names one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What lines need not say themselves."""

    env: str | None
    writer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    where: str
    """`hints.jsonl:3`, or `hints.json: heat[2]`."""
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedBank:
    bank: Bank
    num_read: int
    """Lines that were good; lines that say the same become one hint."""
    num_edited: int
    """Hints whose words are not those of their lineage."""
    bad: tuple[BadLine, ...]
    """Left out."""


def import_bank(path: Path, defaults: Defaults, *, skip_bad: bool = False) -> ImportedBank:
    """The bank that a text file holds, near-duplicates and all.

    A text without sources that stands there n times counts n. Words that were changed by hand keep their lineage and are marked there
    as edited, so that folding again does not bring the old words back.

    Raises:
        BankError: the file is neither `.jsonl` nor `.json`, or lines are bad and `skip_bad` is not set.
    """
    readers = {".jsonl": _lines, ".json": _texts_by_kind}
    if path.suffix not in readers:
        raise BankError(
            f"{path} ends in {path.suffix or 'nothing'}; an import is .jsonl (one hint a line) or .json ({{kind: [texts]}})"
        )
    hints: list[Hint] = []
    bad: list[BadLine] = []
    num_edited = 0
    for where, entry in readers[path.suffix](path):
        try:
            if isinstance(entry, ValueError):
                raise entry
            hint, edited = _hint(entry, defaults)
        except ValueError as error:
            bad.append(BadLine(where=where, problem=_reason(error)))
            continue
        hints.append(hint)
        num_edited += edited
    if bad and not skip_bad:
        raise BankError(_complaint(bad))
    return ImportedBank(
        bank=ordered_bank(_counted(hints)), num_read=len(hints), num_edited=num_edited, bad=tuple(bad)
    )


def _says_something(text: str) -> str:
    if not normalise(text):
        raise ValueError("says nothing")
    return text


Text = Annotated[str, AfterValidator(_says_something)]
Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0, le=10**12)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _WritingRow(_Strict):
    source: str = ""
    text: Text
    writer: Name
    prompt_sha256: str = ""
    task: str = ""
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    usd: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    uses_oracle: bool = False
    count: int = Field(default=1, ge=1, le=10**12)


class _HintRow(_Strict):
    id: str | None = None
    """Follows from the rest; of an edited line it is the old one."""
    text: Text
    kind: Name
    env: Name | None = None
    sources: list[Name] = []
    writer: Name | None = None
    count: int | None = Field(default=None, ge=1, le=10**12)
    uses_oracle: bool = False
    lineage: list[_WritingRow] = []


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    # Bytes: `splitlines` of text also splits at characters that JSON strings may hold.
    for number, line in enumerate(_read(path).split(b"\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", _parsed(line)


def _texts_by_kind(path: Path) -> Iterator[tuple[str, Any]]:
    document = _parsed(_read(path))
    if isinstance(document, ValueError):
        raise BankError(f"{path}: {_reason(document)}")
    if not isinstance(document, dict):
        raise BankError(
            f"{path} holds no object of the form {{kind: [texts]}}; for one hint a line use .jsonl"
        )
    for kind, texts in document.items():
        if not isinstance(texts, list):
            yield f"{path}: {visible(kind)}", ValueError("is no list of texts")
            continue
        for number, text in enumerate(texts):
            yield f"{path}: {visible(kind)}[{number}]", {"kind": kind, "text": text}


def _read(path: Path) -> bytes:
    return path.read_bytes().removeprefix(b"\xef\xbb\xbf")


def _parsed(raw: bytes) -> Any:
    """The JSON value, or the error in place of it."""
    try:
        return json.loads(raw.decode(), object_pairs_hook=_object)
    except RecursionError:
        return ValueError("is nested too deep")
    except UnicodeDecodeError as error:
        return ValueError(f"is not UTF-8 (byte {error.start})")
    except json.JSONDecodeError as error:
        return ValueError(f"is not JSON ({error.msg}, line {error.lineno} column {error.colno})")
    except ValueError as error:
        return error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"names {twice!r} twice")
    return document


def _hint(entry: Any, defaults: Defaults) -> tuple[Hint, bool]:
    """The hint, and whether its words were edited."""
    _require_whole_characters(entry)
    row = _HintRow.model_validate(entry)
    env = row.env or defaults.env
    if env is None:
        raise ValueError("names no env; give it with --env")
    if not row.lineage:
        hint = Hint(
            text=row.text,
            kind=row.kind,
            env=env,
            sources=tuple(dict.fromkeys(row.sources)),
            writer=row.writer or defaults.writer,
            count=row.count or max(1, len(set(row.sources))),
            uses_oracle=row.uses_oracle,
        )
        return hint, False
    lineage = [Writing(**writing.model_dump()) for writing in row.lineage]
    writer = hint_of(lineage, row.text, kind=row.kind, env=env).writer
    if row.writer is not None and row.writer != writer:
        raise ValueError(f"says writer {row.writer!r} but its lineage says {writer!r}")
    edited = normalise(row.text) != _leading_words(lineage, row.kind, env)
    if edited:
        lineage = [replace(w, text=row.text, writer=f"{w.writer} (edited)") for w in lineage]
    hint = hint_of(lineage, row.text, kind=row.kind, env=env)
    told = replace(hint, count=row.count or hint.count, sources=tuple(row.sources) or hint.sources)
    return replace(told, uses_oracle=told.uses_oracle or row.uses_oracle), edited


def _require_whole_characters(entry: Any) -> None:
    """JSON can escape half of a character, which nothing can store or send."""
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise ValueError(f"holds half of a character, \\u{half:04x} without its other half") from None
    except RecursionError:
        raise ValueError("is nested too deep") from None


def _leading_words(lineage: Iterable[Writing], kind: str, env: str) -> str:
    """The words that folding would show."""
    groups: dict[str, list[Writing]] = defaultdict(list)
    for writing in lineage:
        groups[normalise(writing.text)].append(writing)
    hints = [hint_of(group, group[0].text, kind=kind, env=env) for group in groups.values()]
    return normalise(min(hints, key=lambda hint: (-hint.count, hint.id)).text)


def _counted(hints: Iterable[Hint]) -> Iterator[Hint]:
    """Hints whose sources nobody names are counted by their lines; the others are told apart by their sources."""
    nameless: dict[tuple[str, str], list[Hint]] = defaultdict(list)
    for hint in hints:
        if hint.sources or hint.lineage:
            yield hint
        else:
            nameless[hint.id, hint.writer].append(hint)
    for group in nameless.values():
        yield replace(
            group[0],
            text=min(hint.text for hint in group),
            count=sum(hint.count for hint in group),
            uses_oracle=any(hint.uses_oracle for hint in group),
        )


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}" if where else f"{message[:1].lower()}{message[1:]}"


def _complaint(bad: list[BadLine]) -> str:
    named = "; ".join(f"{line.where}: {line.problem}" for line in bad[:_MOST_NAMED])
    more = f"; {len(bad) - _MOST_NAMED} more bad lines" if len(bad) > _MOST_NAMED else ""
    return f"{named}{more}; mend them, or leave them out with --skip-bad"
