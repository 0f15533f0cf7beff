"""Replies that were paid for, on disk by content: a restart asks nothing twice."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from actors.chat import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One reply and where it came from; a line of `calls.jsonl`."""

    key: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    usd: float
    request: str = ""
    """Id of the request that brought it; `Spending` knows that one as sent."""
    trajectory: str = ""
    """Id of the failure that was asked about; another failure with the same prompt shares the reply."""
    model: str = ""
    prompt: str = ""
    """Name of the prompt text."""
    prompt_sha256: str = ""
    """Of the messages as they were sent."""
    reask: int = 0
    """0 for the first question about a failure, 1 for the first repeated one."""
    cached_tokens: int = 0
    """Of `prompt_tokens`, those priced as cached."""
    finish_reason: str = ""
    uses_oracle: bool = False
    """Whether the prompt held a gold plan."""


def call_key(messages: Sequence[Message], *settings: object) -> str:
    """Hash of all that decides a reply: the prompt, the model and how it is sampled."""
    document = [[[m.role, m.content] for m in messages], [str(setting) for setting in settings]]
    return hashlib.sha256(json.dumps(document, ensure_ascii=False).encode()).hexdigest()[:32]


def prompt_sha256(messages: Sequence[Message]) -> str:
    document = [[m.role, m.content] for m in messages]
    return hashlib.sha256(json.dumps(document, ensure_ascii=False).encode()).hexdigest()


class CallCache:
    """One JSON line a call, appended as replies come in; a line torn by a kill is forgotten."""

    def __init__(self, path: Path, earlier: Iterable[Path] = ()):
        """`earlier`: files of other writers, whose replies are taken over when they are asked for."""
        self._path = path
        self._calls = {call.key: call for call in map(_call, journal(path))}
        self._elsewhere = {
            call.key: call for other in earlier if other != path for call in map(_call, whole_lines(other))
        }

    def get(self, key: str) -> Call | None:
        if key not in self._calls and key in self._elsewhere:
            self.add(self._elsewhere[key])
        return self._calls.get(key)

    def add(self, call: Call) -> None:
        append_line(self._path, asdict(call))
        self._calls[call.key] = call

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every reply kept here, earlier starts included."""
        return tuple(self._calls.values())


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """On disk when it returns; a kill before that leaves the line whole, torn at its end, or not at all."""
    with path.open("ab") as file:
        file.write((json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())


def journal(path: Path) -> list[dict[str, Any]]:
    """The records of a file that will be appended to: a torn last line is cut off."""
    if path.exists():
        raw = path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            path.write_bytes(whole)
    return list(whole_lines(path))


def whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, without a torn last line; nothing for a file that is not there."""
    raw = path.read_bytes() if path.exists() else b""
    for line in raw[: raw.rfind(b"\n") + 1].splitlines():
        yield json.loads(line)


_FIELDS = {field.name for field in fields(Call)}


def _call(record: Mapping[str, Any]) -> Call:
    return Call(**{name: value for name, value in record.items() if name in _FIELDS})
