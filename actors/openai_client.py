"""The OpenAI client as we use it: who it is, whom it talks to, and its errors in our words. It neither waits nor tries again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from actors.chat import GenerateError, PromptTooLongError
from actors.patience import TryError
from actors.retry_after import retry_after_s

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_NEVER_SENT = {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"}
_TOO_LONG = (
    "context_length_exceeded",
    "maximum context length",
    "longer than the maximum model length",
    "too many tokens",
)


def open_client(base_url: str | None, api_key_env: str) -> Any:
    """The key is read from the environment here and goes nowhere else. Raises `GenerateError` where there is none."""
    from openai import AsyncOpenAI

    key = os.environ.get(api_key_env, "").strip()
    if not key and base_url is None:
        raise GenerateError(
            f"no API key: the environment variable {api_key_env} is not set; set it, or name another with api_key_env",
            retryable=False,
        )
    # In a header such a key would come back inside the error that it causes.
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise GenerateError(
            f"the environment variable {api_key_env} holds blanks or signs that no API key has; set it to the key alone",
            retryable=False,
        )
    # Servers of one's own often want no key, the client always does. Time limits and retries are `Patience`'s.
    return AsyncOpenAI(base_url=base_url, api_key=key or "none", max_retries=0, timeout=None)


def place_of(base_url: str | None, model: str) -> str:
    """An endpoint by name, without what an address may hold of passwords."""
    if base_url is None:
        return f"https://api.openai.com/v1 (model {model!r})"
    parts = urlsplit(base_url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path} (model {model!r})"


def without_key(client: Any, text: str) -> str:
    """A server may send back whatever it was sent; a key in a reply would be kept with it."""
    return (
        text.replace(client.api_key, "[API key]")
        if client.api_key in text and len(client.api_key) > 7
        else text
    )


@contextmanager
def in_our_words() -> Iterator[None]:
    """Turns the client's errors into `TryError` and `PromptTooLongError`. The server's own text is never quoted: it may hold the key."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _refusal(error) from None
    except openai.APIConnectionError as error:
        raise _cut(error) from None
    except (openai.APIError, ValueError) as error:
        reason = f"its answer is not what OpenAI would send ({type(error).__name__})"
        raise TryError(reason, retryable=True, may_cost=True) from None


def _refusal(error: Any) -> GenerateError:
    """A server that answers with an error status has generated nothing that it bills."""
    status = error.status_code
    text = f"{getattr(error, 'message', '')}{getattr(error, 'code', '')}"
    if status in (400, 413, 422) and any(mark in text.lower() for mark in _TOO_LONG):
        return PromptTooLongError("the prompt is longer than the model's context")
    if status in (401, 403):
        reason = f"it refuses the API key (HTTP {status}); check the variable that api_key_env names"
        return TryError(reason, retryable=False)
    if status == 404:
        reason = "it knows no such model or address (HTTP 404); check model and base_url"
        return TryError(reason, retryable=False)
    if "insufficient_quota" in text:
        return TryError("the account's quota is used up (HTTP 429)", retryable=False)
    if status in _RETRIED:
        asked_s = retry_after_s(error.response.headers)
        return TryError(f"it answers HTTP {status}", retryable=True, retry_after_s=asked_s)
    return TryError(f"it refuses the request: HTTP {status}", retryable=False)


def _cut(error: BaseException) -> TryError:
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    # By name: the client's HTTP library and the one of a client passed in are two, with the same names.
    if {type(cause).__name__ for cause in causes} & _NEVER_SENT:
        reason = f"it cannot be reached ({_said(causes[-1])}): is the server running, is base_url right?"
        return TryError(reason, retryable=True)
    reason = f"the connection broke before its answer was whole ({type(causes[-1]).__name__})"
    return TryError(reason, retryable=True, may_cost=True)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
