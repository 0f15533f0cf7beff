"""The seam to a language model: one call, whoever answers it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a reply is drawn. `temperature` 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    text: str
    prompt_tokens: int
    cached_tokens: int
    """Of `prompt_tokens`, those served from the prefix cache; 0 where the server does not tell."""
    completion_tokens: int
    finish_reason: str
    """"stop", "length" or what the server said."""


class GenerateError(RuntimeError):
    """The model could not answer (engine dead, endpoint unreachable). `retryable`: whether elsewhere or later may work."""

    def __init__(self, message: str, *, retryable: bool = True):
        super().__init__(message, retryable)
        self.message, self.retryable = message, retryable

    def __str__(self) -> str:
        return self.message

    def __reduce__(self):
        return (_rebuild_generate_error, (self.message, self.retryable))


def _rebuild_generate_error(message: str, retryable: bool) -> GenerateError:
    return GenerateError(message, retryable=retryable)


class OutageError(GenerateError):
    """What was asked went away before it answered: its process died, or the network in between was cut."""

    def __init__(self, message: str):
        super().__init__(message, retryable=True)

    def __reduce__(self):
        return (OutageError, (self.message,))


class PromptTooLongError(GenerateError):
    """The prompt and one reply do not fit the model's context: the end of an episode, not a fault."""

    def __init__(self, message: str):
        super().__init__(message, retryable=False)

    def __reduce__(self):
        return (PromptTooLongError, (self.message,))


class Generate(Protocol):
    """A model. `session` is the episode's id: its calls go to one engine, so that an append-only prompt hits the prefix cache."""

    async def __call__(
        self, messages: Sequence[Message], sampling: Sampling, *, session: str
    ) -> Completion: ...
