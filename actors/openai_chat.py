"""A model behind an OpenAI-compatible endpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from actors.chat import Completion, Message, Sampling
from actors.config import EndpointConfig
from actors.openai_client import in_our_words, open_client, place_of, without_key
from actors.patience import Patience, PatientModel, TryError
from actors.retry import Backoff


class OpenAIOnce:
    """A `Generate` that asks once and sets no time limit. It belongs to the event loop that it is first used in."""

    def __init__(self, config: EndpointConfig, *, response_format: Mapping[str, Any] | None = None) -> None:
        """`response_format` goes to the server as it is, such as a JSON schema that replies must hold to; None leaves it out."""
        if config.base_urls:
            raise ValueError(
                f"base_urls = {list(config.base_urls)}: several servers play episodes; give one base_url where one is asked"
            )
        self._config = config
        self._response_format = response_format
        self._client: Any = None

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        if self._client is None:
            self._client = open_client(self._config.base_url, self._config.api_key_env)
        body = request_body(self._config.model, messages, sampling, self._response_format)
        with in_our_words():
            completion = completion_of(await self._client.chat.completions.create(**body))
        return replace(completion, text=without_key(self._client, completion.text))


class OpenAIChat:
    """A `Generate` with retries, for callers that count no money."""

    def __init__(
        self, config: EndpointConfig, *, base_delay_s: float = 0.5, max_delay_s: float = 20.0
    ) -> None:
        backoff = Backoff(
            max_attempts=config.max_attempts, base_delay_s=base_delay_s, max_delay_s=max_delay_s
        )
        place = place_of(config.base_url, config.model)
        patience = Patience(place=place, backoff=backoff, timeout_s=config.timeout_s)
        self._model = PatientModel(once=OpenAIOnce(config), patience=patience)

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        return await self._model(messages, sampling, session=session)


def request_body(
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    response_format: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a chat completion is asked with, as JSON."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if response_format is not None:
        body["response_format"] = dict(response_format)
    return body


def completion_of(answer: Any) -> Completion:
    """A chat completion as JSON or as the client's record; `TryError` for one that holds no reply."""
    body = answer.model_dump(warnings=False) if hasattr(answer, "model_dump") else answer
    try:
        choice, usage = body["choices"][0], body.get("usage") or {}
        text = choice["message"].get("content") or ""
    except (AttributeError, IndexError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise TryError("its answer holds no reply", retryable=True, may_cost=True)
    details = usage.get("prompt_tokens_details") or {}
    return Completion(
        text=text,
        prompt_tokens=usage.get("prompt_tokens") or 0,
        cached_tokens=details.get("cached_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        finish_reason=choice.get("finish_reason") or "stop",
    )
