"""OpenAI's batch mode, one request at a time: a file goes up, a batch is started on it, looked at, and its lines come down.

Sets no time limit and tries nothing again; `Patience` does. Lines are plain JSON documents, one a request, named by `custom_id`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.chat import Completion
from actors.config import EndpointConfig
from actors.openai_chat import completion_of
from actors.openai_client import in_our_words, open_client, without_key
from actors.patience import TryError

MAX_REQUESTS = 50_000
"""Of one batch, by OpenAI's documentation; see `MAX_BYTES`."""
MAX_BYTES = 190 * 10**6
"""Of one input file; 200 MB are allowed."""

_PATH = "/v1/chat/completions"
_PAGES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """What the server says of a batch."""

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    error_codes: tuple[str, ...] = ()
    """Why its input file was refused."""

    @property
    def is_over(self) -> bool:
        return self.status in ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineResult:
    """What came of one request of a batch."""

    custom_id: str
    completion: Completion | None = None
    error: str | None = None
    """In our words; None where `completion` is there."""
    may_cost: bool = False
    retryable: bool = False


class OpenAIBatches:
    def __init__(self, config: EndpointConfig):
        self._config = config
        self._client: Any = None

    async def upload(self, requests: bytes) -> str:
        """The file's id. A file that is uploaded twice costs nothing."""
        with in_our_words():
            file = await self._open().files.create(file=("hints.jsonl", requests), purpose="batch")
        return str(file.id)

    async def start(self, file_id: str) -> BatchState:
        """The batch of this file: the one that is there already, since an earlier call may have started it and not heard so."""
        with in_our_words():
            if (there := await self._find(file_id)) is not None:
                return there
            batch = await self._open().batches.create(
                input_file_id=file_id, endpoint=_PATH, completion_window="24h"
            )
        return _state(batch)

    async def look(self, batch_id: str) -> BatchState:
        with in_our_words():
            return _state(await self._open().batches.retrieve(batch_id))

    async def results(self, file_id: str) -> list[LineResult]:
        with in_our_words():
            content = await self._open().files.content(file_id)
            text = without_key(self._open(), content.content.decode("utf-8", "replace"))
            # Not `splitlines`: a reply may hold signs that it takes for the end of a line.
            return [line_result(json.loads(line)) for line in text.split("\n") if line.strip()]

    async def _find(self, file_id: str) -> BatchState | None:
        page = await self._open().batches.list(limit=100)
        for _ in range(_PAGES):
            for batch in page.data:
                if batch.input_file_id == file_id:
                    return _state(batch)
            if not page.has_next_page():
                return None
            page = await page.get_next_page()
        return None

    def _open(self) -> Any:
        if self._client is None:
            self._client = open_client(self._config.base_url, self._config.api_key_env)
        return self._client


def request_lines(bodies: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The input file of requests by `custom_id`."""
    lines = [
        {"custom_id": custom_id, "method": "POST", "url": _PATH, "body": body}
        for custom_id, body in bodies.items()
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def line_result(line: Mapping[str, Any]) -> LineResult:
    """One line of an output or error file."""
    custom_id = str(line.get("custom_id"))
    response = line.get("response") or {}
    status = response.get("status_code")
    if status == 200:
        try:
            return LineResult(custom_id=custom_id, completion=completion_of(response.get("body")))
        except TryError as error:
            return LineResult(custom_id=custom_id, error=error.message, may_cost=True, retryable=True)
    if status is not None:
        retryable = status in (408, 409, 425, 429) or status >= 500
        return LineResult(custom_id=custom_id, error=f"it answers HTTP {status}", retryable=retryable)
    # Not reached before the batch expired or was cancelled.
    code = _code((line.get("error") or {}).get("code"))
    return LineResult(custom_id=custom_id, error=f"the batch left it out ({code})", retryable=True)


def _state(batch: Any) -> BatchState:
    errors: Sequence[Any] = getattr(batch.errors, "data", None) or ()
    return BatchState(
        id=batch.id,
        status=batch.status,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        error_codes=tuple(dict.fromkeys(_code(error.code) for error in errors)),
    )


def _code(code: object) -> str:
    """A word of the server's that may be shown: codes are words, and nothing that could hold a key is."""
    text = str(code)
    return text if text.replace("_", "").isalpha() and len(text) < 50 else "no known code"
