"""What goes between a host and an engine: requests one way, replies the other, many at a time."""

from dataclasses import dataclass

from actors.chat import GenerateError, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    number: int
    """Its name on its line."""
    prompt_ids: list[int]  # [prompt_tokens]
    sampling: Sampling
    adapter: str | None
    """Folder of a LoRA adapter; None: the base model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model drew for one prompt."""

    text: str
    """"" where only token ids were drawn, and whoever asked turns them into text."""
    token_ids: tuple[int, ...]
    cached_tokens: int
    finish_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Of `answer` and `error`, one."""

    number: int
    answer: Answer | None = None
    error: GenerateError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    boot: str
    """Names the engine's process: another one knows nothing of what the line asked before."""
    replies: tuple[Reply, ...]
