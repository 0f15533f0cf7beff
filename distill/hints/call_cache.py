"""Replies that were paid for, on disk by content: a restart asks nothing twice."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from actors.chat import Completion, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    key: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    usd: float


def call_key(messages: Sequence[Message], *settings: object) -> str:
    """Hash of all that decides a reply: the prompt, the model and how it is sampled."""
    document = [[[m.role, m.content] for m in messages], [str(setting) for setting in settings]]
    return hashlib.sha256(json.dumps(document, ensure_ascii=False).encode()).hexdigest()[:32]


class CallCache:
    """One JSON line a call, appended and flushed as replies come in; a line torn by a kill is forgotten."""

    def __init__(self, path: Path, earlier: Iterable[Path] = ()):
        """`earlier`: files of other writers, whose replies are taken over when they are asked for."""
        self._path = path
        self._calls: dict[str, Call] = {}
        if path.exists():
            whole = _whole_lines(path)
            if len(whole) < path.stat().st_size:
                path.write_bytes(whole)
            self._calls = _calls(whole)
        self._elsewhere = {
            key: call
            for other in earlier
            if other != path
            for key, call in _calls(_whole_lines(other)).items()
        }

    def get(self, key: str) -> Call | None:
        if key not in self._calls and key in self._elsewhere:
            self._keep(self._elsewhere[key])
        return self._calls.get(key)

    def add(self, key: str, completion: Completion, usd: float) -> Call:
        call = Call(
            key=key,
            text=completion.text,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            usd=usd,
        )
        self._keep(call)
        return call

    @property
    def usd(self) -> float:
        """What the replies kept here cost, earlier starts included."""
        return sum(call.usd for call in self._calls.values())

    def _keep(self, call: Call) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(call), ensure_ascii=False) + "\n")
        self._calls[call.key] = call


def _whole_lines(path: Path) -> bytes:
    raw = path.read_bytes()
    return raw[: raw.rfind(b"\n") + 1]


def _calls(lines: bytes) -> dict[str, Call]:
    calls = (Call(**json.loads(line)) for line in lines.splitlines())
    return {call.key: call for call in calls}
