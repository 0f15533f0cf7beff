"""Replies that were paid for, on disk by content: a restart asks nothing twice."""

import hashlib
import json
from collections.abc import Sequence
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

    def __init__(self, path: Path):
        self._path = path
        self._calls: dict[str, Call] = {}
        if path.exists():
            self._read()

    def get(self, key: str) -> Call | None:
        return self._calls.get(key)

    def add(self, key: str, completion: Completion, usd: float) -> Call:
        call = Call(
            key=key,
            text=completion.text,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            usd=usd,
        )
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(call), ensure_ascii=False) + "\n")
        self._calls[key] = call
        return call

    @property
    def usd(self) -> float:
        """Everything paid so far, earlier starts included."""
        return sum(call.usd for call in self._calls.values())

    def _read(self) -> None:
        raw = self._path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            self._path.write_bytes(whole)
        for line in whole.splitlines():
            call = Call(**json.loads(line))
            self._calls[call.key] = call
