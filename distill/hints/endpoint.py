"""An OpenAI-compatible endpoint that answers in the hint writer's JSON form. Owns the retries: the client library's own are off, they
would hide time and cost."""

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any

from actors.chat import Completion, GenerateError, Message, Sampling
from distill.hints.config import OpenAIWriterConfig
from distill.hints.reply import WrittenHints

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0


class HintEndpoint:
    """A `Generate`; every reply is asked for as the JSON schema of `WrittenHints` unless the config says that the server cannot."""

    def __init__(self, config: OpenAIWriterConfig):
        self._config = config
        self._client: Any = None
        self._api_key = _api_key(config)

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        import openai

        if self._client is None:
            # Made on first use, in the event loop that it is used in.
            self._client = openai.AsyncOpenAI(
                api_key=self._api_key,
                base_url=self._config.base_url,
                timeout=self._config.timeout_s,
                max_retries=0,
            )
        for attempt in range(1, self._config.max_attempts + 1):
            try:
                return _completion(
                    await self._client.chat.completions.create(**self._request(messages, sampling))
                )
            except openai.APIError as error:
                lost = _lost_call(error, self._config)
                if not lost.retryable or attempt == self._config.max_attempts:
                    raise lost from error
                await asyncio.sleep(_pause_s(error, attempt))
        raise AssertionError("max_attempts is at least 1")

    def _request(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self._config.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
        }
        if self._config.json_schema:
            form = {"name": "hints", "strict": True, "schema": WrittenHints.model_json_schema()}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        return request


def _api_key(config: OpenAIWriterConfig) -> str:
    if key := os.environ.get(config.api_key_env):
        return key
    if config.base_url is None:
        raise ValueError(
            f"the environment variable {config.api_key_env} is empty; put the key of the hint writer's endpoint there, "
            "or set writer.base_url to a server that needs none, or use writer.kind = 'diagnostician'"
        )
    return "none"


def _completion(answer: Any) -> Completion:
    if not answer.choices:
        raise GenerateError("the endpoint answered without a choice", retryable=True)
    usage = answer.usage
    details = getattr(usage, "prompt_tokens_details", None)
    return Completion(
        text=answer.choices[0].message.content or "",
        prompt_tokens=usage.prompt_tokens if usage else 0,
        cached_tokens=getattr(details, "cached_tokens", None) or 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        finish_reason=answer.choices[0].finish_reason or "",
    )


def _lost_call(error: Any, config: OpenAIWriterConfig) -> GenerateError:
    """The error in our words: what happened, at which endpoint, and whether later may work."""
    import openai

    where = f"{config.model} at {config.base_url or 'api.openai.com'}"
    if isinstance(error, openai.APIConnectionError):
        what = "did not answer in time" if isinstance(error, openai.APITimeoutError) else "cannot be reached"
        return GenerateError(
            f"{where} {what} ({error.__cause__ or error}); is the server up and base_url right?"
        )
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        return GenerateError(f"{where} refuses the key in {config.api_key_env} ({status})", retryable=False)
    if status == 404:
        return GenerateError(
            f"{where} knows no such model or path (404); check writer.model and writer.base_url",
            retryable=False,
        )
    # Money that has run out comes as "too many requests" and does not come back by waiting.
    is_broke = getattr(error, "code", None) == "insufficient_quota"
    retryable = not is_broke and (status is None or status in (408, 409, 429) or status >= 500)
    return GenerateError(f"{where} answered {status}: {error.message}", retryable=retryable)


def _pause_s(error: Any, attempt: int) -> float:
    """What the server asks for, else full jitter over a doubling span."""
    response = getattr(error, "response", None)
    asked = response.headers.get("retry-after") if response is not None else None
    if asked and asked.replace(".", "", 1).isdigit():
        return min(_LONGEST_PAUSE_S, float(asked))
    return random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt))
