"""Conversations to tokens, with the loss on what the assistant said and proof of it.

The text is what the model's own chat template renders, and every reply must continue exactly the prompt that the
model is asked with at play (incremental prefix rendering). Templates that rewrite earlier turns, as Qwen3's does
with its thinking, are refused. Imports neither torch nor ray.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from train.errors import MaskError, RowTooLongError

IGNORED = -100
"""The label of a token without loss."""

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of the rendered conversation; boundaries lie where the model starts and stops to speak."""

    text: str
    has_loss: bool


def tokenize_row(
    messages: Sequence[Message], tokenizer: Any, *, row_id: str = "", max_length: int | None = None
) -> tuple[list[int], list[int]]:
    """`(input_ids, labels)` of a conversation; labels are -100 but for each reply and its end-of-turn token.

    Raises `MaskError`, with `row_id` and the message's index, where the mask cannot be proven, and
    `RowTooLongError` where the row has more than `max_length` tokens.
    """
    segments = segment(messages, tokenizer, row_id=row_id)
    encoded = tokenizer([s.text for s in segments], add_special_tokens=False, return_attention_mask=False)
    input_ids: list[int] = []
    labels: list[int] = []
    for part, ids in zip(segments, encoded["input_ids"], strict=True):
        input_ids += ids
        labels += ids if part.has_loss else [IGNORED] * len(ids)
    text = "".join(s.text for s in segments)
    decoded = _decode(input_ids, tokenizer)
    if decoded != _normalised(text, tokenizer):
        raise MaskError(
            f"{_where(row_id)}the tokens do not decode to the rendered text: {_difference(text, decoded)}"
        )
    prove_mask({"input_ids": input_ids, "labels": labels}, tokenizer, messages=messages, row_id=row_id)
    if max_length is not None and len(input_ids) > max_length:
        raise RowTooLongError(
            f"{_where(row_id)}the conversation has {len(input_ids)} tokens, more than max_length={max_length}; "
            "raise max_length or leave the row out (rows are never cut, the end of an episode is its point)"
        )
    return input_ids, labels


def to_tokens_row(row: Mapping[str, Any], tokenizer: Any, *, max_length: int | None = None) -> dict[str, Any]:
    """A row of `TOKENS_SCHEMA` from a row of `SFT_SCHEMA`."""
    input_ids, labels = tokenize_row(
        row["messages"], tokenizer, row_id=row["trajectory_id"], max_length=max_length
    )
    return {
        "input_ids": input_ids,
        "labels": labels,
        "num_tokens": len(input_ids),
        "num_loss_tokens": sum(label != IGNORED for label in labels),
    } | {name: row[name] for name in ("task_id", "trajectory_id", "arm")}


def prove_mask(
    row: Mapping[str, Any], tokenizer: Any, *, messages: Sequence[Message] | None = None, row_id: str = ""
) -> tuple[str, ...]:
    """The texts under loss, decoded from the tokens, once they are proven to be what they should be.

    Proven: ids and labels agree, neither none nor all of the tokens carry loss, every stretch under loss ends with
    an end-of-turn token and, given `messages`, the stretches are the assistant's messages, one for one.
    """
    row_id = row_id or str(row.get("trajectory_id") or row.get("task_id") or "")
    input_ids, labels = [int(i) for i in row["input_ids"]], [int(i) for i in row["labels"]]
    at = _where(row_id)
    if len(input_ids) != len(labels):
        raise MaskError(f"{at}{len(input_ids)} tokens but {len(labels)} labels")
    num_loss = sum(label != IGNORED for label in labels)
    if num_loss == 0:
        raise MaskError(f"{at}no token carries loss (all-zero mask): the row would teach nothing")
    if num_loss == len(labels):
        raise MaskError(
            f"{at}every token carries loss (all-ones mask): the row would teach the prompt as well"
        )
    pairs = enumerate(zip(input_ids, labels, strict=True))
    wrong = next((i for i, (token, label) in pairs if label not in (IGNORED, token)), None)
    if wrong is not None:
        raise MaskError(f"{at}label {labels[wrong]} at token {wrong} is not its token {input_ids[wrong]}")
    texts = tuple(_read_stretch(ids, tokenizer, at) for ids in _stretches(labels))
    if messages is not None:
        _match_texts(texts, messages, tokenizer, at)
    return texts


def segment(messages: Sequence[Message], tokenizer: Any, *, row_id: str = "") -> list[Segment]:
    """The conversation as its template renders it, cut where the assistant starts and stops to speak."""
    chat = [{"role": m["role"], "content": m["content"]} for m in messages]
    _check_messages(chat, tokenizer, row_id)
    skeleton = _skeleton(tuple(m["role"] for m in chat), tokenizer)
    if skeleton is not None:
        segments = skeleton.fill([m["content"] for m in chat])
        # One render instead of one for every prefix: the skeleton's prefixes are proven, so only the contents could
        # make the template do something else, and then the whole differs.
        if "".join(s.text for s in segments) == _render(chat, tokenizer, row_id):
            return segments
    return _segment_by_prefixes(chat, tokenizer, row_id)


def _segment_by_prefixes(messages: list[dict[str, str]], tokenizer: Any, row_id: str) -> list[Segment]:
    segments: list[Segment] = []
    done = ""
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = _render(messages[:index], tokenizer, row_id, ask=True)
        told = _render(messages[: index + 1], tokenizer, row_id)
        _must_continue(done, prompt, index, row_id)
        _must_continue(prompt, told, index, row_id)
        spoken = _spoken(message["content"], told[len(prompt) :], tokenizer, index, row_id)
        segments += [Segment(text=prompt[len(done) :], has_loss=False), Segment(text=spoken, has_loss=True)]
        done = prompt + spoken
    whole = _render(messages, tokenizer, row_id)
    _must_continue(done, whole, len(messages) - 1, row_id)
    if tail := whole[len(done) :]:
        segments.append(Segment(text=tail, has_loss=False))
    return [s for s in segments if s.text]


def _spoken(content: str, rendered: str, tokenizer: Any, index: int, row_id: str) -> str:
    """The reply with its end-of-turn token, at the head of what the template rendered after the prompt."""
    # Some templates trim what was said; the model is then asked and trained with the trimmed words alike.
    text = next((t for t in (content, content.strip()) if rendered.startswith(t)), None)
    if text is None:
        raise MaskError(
            f"{_where(row_id, index)}the chat template rewrites the reply: {_difference(content, rendered)}; "
            "use a template that keeps replies as they were said"
        )
    rest = rendered[len(text) :]
    end = next((token for token in _special_tokens(tokenizer) if rest.startswith(token)), None)
    if end is None:
        raise MaskError(
            f"{_where(row_id, index)}the chat template does not close the reply with an end-of-turn token "
            f"(it renders {rest[:40]!r}), so the model would never learn to stop"
        )
    return text + end


def _must_continue(prefix: str, text: str, index: int, row_id: str) -> None:
    if not text.startswith(prefix):
        raise MaskError(
            f"{_where(row_id, index)}the chat template does not keep earlier turns as they were "
            f"(thinking removed from the history?): {_difference(prefix, text)}; "
            "training on it would not match the prompts at play, use an append-only template"
        )


# Skeletons: the template's own words around the messages, proven once for each sequence of roles, so that a long
# conversation needs one render and not one for every turn.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Skeleton:
    pieces: tuple[tuple[tuple[str | int, ...], bool], ...]
    """Segments as (strings and message indices, has_loss)."""

    def fill(self, contents: list[str]) -> list[Segment]:
        return [
            Segment(text="".join(p if isinstance(p, str) else contents[p] for p in parts), has_loss=has_loss)
            for parts, has_loss in self.pieces
        ]


_skeletons: "weakref.WeakKeyDictionary[Any, dict[tuple[Any, ...], _Skeleton | None]]" = (
    weakref.WeakKeyDictionary()
)
_specials: "weakref.WeakKeyDictionary[Any, dict[str, int]]" = weakref.WeakKeyDictionary()


def _skeleton(roles: tuple[str, ...], tokenizer: Any) -> _Skeleton | None:
    """None where the template does not render stand-in words plainly: then every row is rendered by prefixes."""
    known = _skeletons.setdefault(tokenizer, {})
    key = (tokenizer.chat_template, roles)
    if key not in known:
        known[key] = _build_skeleton(roles, tokenizer)
    return known[key]


def _special_tokens(tokenizer: Any) -> dict[str, int]:
    """Special tokens and their ids: the end-of-sequence token first, then the longest."""
    if tokenizer not in _specials:
        found = {str(t): i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        found |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        order = sorted(found, key=lambda t: (t != tokenizer.eos_token, -len(t), t))
        _specials[tokenizer] = {token: found[token] for token in order}
    return _specials[tokenizer]


def _build_skeleton(roles: tuple[str, ...], tokenizer: Any) -> _Skeleton | None:
    marks = [f"content{index}mark" for index in range(len(roles))]
    try:
        segments = _segment_by_prefixes(
            [{"role": r, "content": m} for r, m in zip(roles, marks, strict=True)], tokenizer, ""
        )
    except MaskError:
        return None
    pieces = tuple((_split(s.text, marks), s.has_loss) for s in segments)
    if [p for parts, _ in pieces for p in parts if isinstance(p, int)] != list(range(len(roles))):
        return None
    return _Skeleton(pieces=pieces)


def _split(text: str, marks: list[str]) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    at = 0
    for index, mark in enumerate(marks):
        found = text.find(mark, at)
        if found >= 0:
            parts += [text[at:found], index]
            at = found + len(mark)
    return (*parts, text[at:])


def _check_messages(messages: list[dict[str, str]], tokenizer: Any, row_id: str) -> None:
    if not any(m["role"] == "assistant" for m in messages):
        raise MaskError(
            f"{_where(row_id)}no message of the assistant among {len(messages)}: nothing to learn"
        )
    if messages[0]["role"] == "assistant":
        raise MaskError(f"{_where(row_id, 0)}the conversation opens with the assistant; give the task first")
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if special := next((t for t in _special_tokens(tokenizer) if t in message["content"]), None):
            raise MaskError(
                f"{_where(row_id, index)}the reply holds the special token {special!r}; leave the row out"
            )


def _render(messages: list[dict[str, str]], tokenizer: Any, row_id: str, *, ask: bool = False) -> str:
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
    except TemplateError as error:
        raise MaskError(
            f"{_where(row_id, len(messages) - 1)}the chat template refuses the conversation: {error}"
        ) from error


def _stretches(labels: list[int]) -> Iterator[list[int]]:
    edges = [0] + [i + 1 for i, (a, b) in enumerate(pairwise(labels)) if (a == IGNORED) != (b == IGNORED)]
    for start, stop in pairwise([*edges, len(labels)]):
        if labels[start] != IGNORED:
            yield labels[start:stop]


def _read_stretch(ids: list[int], tokenizer: Any, at: str) -> str:
    text = _decode(ids, tokenizer)
    if ids[-1] not in _special_tokens(tokenizer).values():
        raise MaskError(f"{at}a stretch under loss does not end with an end-of-turn token: ...{text[-40:]!r}")
    return text[: -len(_decode(ids[-1:], tokenizer))]


def _match_texts(texts: tuple[str, ...], messages: Sequence[Message], tokenizer: Any, at: str) -> None:
    replies = [(i, m["content"]) for i, m in enumerate(messages) if m["role"] == "assistant"]
    if len(texts) != len(replies):
        raise MaskError(f"{at}{len(texts)} stretches under loss but {len(replies)} messages of the assistant")
    for text, (index, reply) in zip(texts, replies, strict=True):
        if text not in (_normalised(reply, tokenizer), _normalised(reply.strip(), tokenizer)):
            raise MaskError(
                f"{at}message {index}: the tokens under loss are not the reply: {_difference(reply, text)}"
            )


def _decode(ids: list[int], tokenizer: Any) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _normalised(text: str, tokenizer: Any) -> str:
    """The text after the tokenizer's own Unicode normalisation, which decoding cannot undo."""
    if text.isascii():
        return text
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    return normalizer.normalize_str(text) if normalizer else text


def _where(row_id: str, index: int | None = None) -> str:
    parts = ([f"row {row_id}"] if row_id else []) + ([f"message {index}"] if index is not None else [])
    return " ".join(parts) + ": " if parts else ""


def _difference(expected: str, found: str, width: int = 40) -> str:
    """The two texts where they part."""
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b),
        min(len(expected), len(found)),
    )
    start = max(0, at - 15)
    return f"at character {at} expected {expected[start : at + width]!r}, found {found[start : at + width]!r}"
