"""A model behind an OpenAI-compatible endpoint. Retries, their pauses and one deadline are decided here, not in the client."""

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from actors.chat import Completion, GenerateError, Message, PromptTooLongError, Sampling
from actors.config import EndpointConfig

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_TOO_LONG = (
    "context_length_exceeded",
    "maximum context length",
    "longer than the maximum model length",
    "too many tokens",
)


class OpenAIChat:
    """A `Generate`. The key is read from the environment at the first call and never stored in a record or a message."""

    def __init__(
        self,
        config: EndpointConfig,
        *,
        response_format: Mapping[str, Any] | None = None,
        base_delay_s: float = 0.5,
        max_delay_s: float = 20.0,
    ) -> None:
        """`response_format` goes to the server as it is, such as a JSON schema that replies must hold to; None leaves it out."""
        self._config = config
        self._response_format = response_format
        self._base_delay_s, self._max_delay_s = base_delay_s, max_delay_s
        self._client: Any = None
        self._jitter = random.Random()

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        deadline = time.monotonic() + self._config.timeout_s
        for attempt in range(1, self._config.max_attempts + 1):
            try:
                return await self._ask(messages, sampling, deadline - time.monotonic())
            except _Refused as refused:
                if not refused.retryable:
                    raise _give_up(refused, self._place, attempt, again=False) from None
                delay = self._delay(attempt, refused.retry_after_s)
                if attempt == self._config.max_attempts or time.monotonic() + delay >= deadline:
                    raise _give_up(refused, self._place, attempt, again=True) from None
            await asyncio.sleep(delay)
        raise AssertionError("unreachable")

    @property
    def _place(self) -> str:
        return f"{self._config.base_url or 'https://api.openai.com/v1'} (model {self._config.model!r})"

    def _delay(self, attempt: int, retry_after_s: float | None) -> float:
        """Full jitter, so that many episodes do not come back together; a server's own wish is the least."""
        ceiling = min(self._max_delay_s, self._base_delay_s * 2 ** (attempt - 1))
        return (retry_after_s or 0.0) + self._jitter.uniform(0, ceiling)

    async def _ask(self, messages: Sequence[Message], sampling: Sampling, timeout_s: float) -> Completion:
        import openai

        client = self._open()
        try:
            answer = await client.chat.completions.create(
                model=self._config.model,
                messages=[{"role": message.role, "content": message.content} for message in messages],
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                stop=list(sampling.stop) or openai.omit,
                seed=openai.omit if sampling.seed is None else sampling.seed,
                response_format=openai.omit if self._response_format is None else dict(self._response_format),
                timeout=max(timeout_s, 0.001),
            )
        except openai.APIStatusError as error:
            raise _refusal(error) from None
        except openai.APITimeoutError:
            raise _Refused("it did not answer in time", retryable=True) from None
        except openai.APIConnectionError as error:
            reason = f"it cannot be reached ({_innermost(error)}): is the server running, is base_url right?"
            raise _Refused(reason, retryable=True) from None
        except (openai.APIError, ValueError) as error:
            raise _Refused(
                f"its answer is no chat completion ({type(error).__name__})", retryable=True
            ) from None
        return _completion(answer)

    def _open(self) -> Any:
        if self._client is None:
            from openai import AsyncOpenAI

            key = os.environ.get(self._config.api_key_env)
            if not key and self._config.base_url is None:
                raise GenerateError(
                    f"no API key: the environment variable {self._config.api_key_env} is not set; set it, or name another with api_key_env",
                    retryable=False,
                )
            # Servers of one's own often want no key, the client always does.
            self._client = AsyncOpenAI(base_url=self._config.base_url, api_key=key or "none", max_retries=0)
        return self._client


class _Refused(Exception):  # noqa: N818 - private, and turned into GenerateError or a retry
    def __init__(
        self, reason: str, *, retryable: bool, retry_after_s: float | None = None, too_long: bool = False
    ):
        super().__init__(reason)
        self.reason, self.retryable, self.retry_after_s, self.too_long = (
            reason,
            retryable,
            retry_after_s,
            too_long,
        )


def _give_up(refused: _Refused, place: str, attempts: int, *, again: bool) -> GenerateError:
    if refused.too_long:
        return PromptTooLongError(f"{place}: {refused.reason}")
    tries = f" after {attempts} tries" if attempts > 1 else ""
    return GenerateError(f"{place}{tries}: {refused.reason}", retryable=again)


def _refusal(error: Any) -> _Refused:
    """The server's verdict in our words. Its text is quoted only where it cannot hold the key."""
    status = error.status_code
    text = str(getattr(error, "message", "")) + str(getattr(error, "code", ""))
    if status in (400, 413, 422) and any(mark in text.lower() for mark in _TOO_LONG):
        return _Refused("the prompt is longer than the model's context", retryable=False, too_long=True)
    if status in (401, 403):
        return _Refused(
            f"it refuses the API key (HTTP {status}); check the variable that api_key_env names",
            retryable=False,
        )
    if status == 404:
        return _Refused(
            "it knows no such model or address (HTTP 404); check model and base_url", retryable=False
        )
    if "insufficient_quota" in text:
        return _Refused("the account's quota is used up (HTTP 429)", retryable=False)
    if status in _RETRIED:
        return _Refused(
            f"it answers HTTP {status}", retryable=True, retry_after_s=_retry_after(error.response.headers)
        )
    return _Refused(f"it refuses the request: HTTP {status}", retryable=False)


def _retry_after(headers: Any) -> float | None:
    """Seconds from `retry-after-ms` or `Retry-After`; the date form is left to our own pauses."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < 3600:
            return seconds
    return None


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _completion(answer: Any) -> Completion:
    if not getattr(answer, "choices", None) or answer.choices[0].message is None:
        raise _Refused("its answer holds no choice", retryable=True)
    choice, usage = answer.choices[0], answer.usage
    details = getattr(usage, "prompt_tokens_details", None)
    return Completion(
        text=choice.message.content or "",
        prompt_tokens=getattr(usage, "prompt_tokens", 0) or 0,
        cached_tokens=getattr(details, "cached_tokens", 0) or 0,
        completion_tokens=getattr(usage, "completion_tokens", 0) or 0,
        finish_reason=choice.finish_reason or "stop",
    )
