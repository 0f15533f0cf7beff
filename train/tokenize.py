"""Conversations to tokens, with the loss on what the assistant said and proof of it.

The text is what the model's own chat template renders, and every reply must continue exactly the prompt that the model is asked with at
play, in letters (`train.segments`) and in tokens. Imports neither torch nor ray.
"""

import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from train.errors import MaskError, RowTooLongError
from train.segments import Message, Segment, difference, lead, render, segment, special_tokens, where

__all__ = [
    "IGNORED",
    "Segment",
    "loss_by_role",
    "prove_mask",
    "prove_play",
    "segment",
    "to_tokens_row",
    "tokenize_row",
]

IGNORED = -100
"""The label of a token without loss."""

_PROVEN_IN_FULL = 8
"""Rows whose every prompt is read by itself before the tokenizer's cuts are believed."""


def tokenize_row(
    messages: Sequence[Message], tokenizer: Any, *, row_id: str = "", max_length: int | None = None
) -> tuple[list[int], list[int]]:
    """`(input_ids, labels)` of a conversation; labels are -100 but for each reply and its end-of-turn token.

    Raises `MaskError`, with `row_id` and the message's index, where the mask cannot be proven, and
    `RowTooLongError` where the row has more than `max_length` tokens.
    """
    segments = segment(messages, tokenizer, row_id=row_id)
    text = "".join(s.text for s in segments)
    parts = _read([s.text for s in segments], tokenizer)
    input_ids: list[int] = []
    labels: list[int] = []
    for part, ids in zip(segments, parts, strict=True):
        input_ids += ids
        labels += ids if part.has_loss else [IGNORED] * len(ids)
    decoded = _decode(input_ids, tokenizer)
    if decoded != _normalised(text, tokenizer):
        raise MaskError(
            f"{where(row_id)}the tokens do not decode to the rendered text: {difference(text, decoded)}"
        )
    _prove_cuts(segments, tokenizer, row_id)
    prove_mask({"input_ids": input_ids, "labels": labels}, tokenizer, messages=messages, row_id=row_id)
    if _owes_full_proof(tokenizer):
        prove_play(input_ids, labels, messages, tokenizer, row_id=row_id)
    if max_length is not None and len(input_ids) > max_length:
        raise RowTooLongError(
            f"{where(row_id)}the conversation has {len(input_ids)} tokens, more than max_length={max_length}; "
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
    at = where(row_id)
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
    texts = tuple(_read_stretch(labels[a:b], tokenizer, at) for a, b in _bounds(labels))
    if messages is not None:
        _match_texts(texts, messages, tokenizer, at)
    return texts


def prove_play(
    input_ids: Sequence[int],
    labels: Sequence[int],
    messages: Sequence[Message],
    tokenizer: Any,
    *,
    row_id: str = "",
) -> None:
    """Teacher forcing is play: the tokens before each stretch under loss are those of the prompt that the engine answers there."""
    chat = [{"role": m["role"], "content": m["content"]} for m in messages]
    replies = [i for i, m in enumerate(chat) if m["role"] == "assistant"]
    starts = [start for start, _ in _bounds(labels)]
    if len(starts) != len(replies):
        raise MaskError(
            f"{where(row_id)}{len(starts)} stretches under loss but {len(replies)} messages of the assistant"
        )
    for index, start in zip(replies, starts, strict=True):
        prompt = tokenizer(render(chat[:index], tokenizer, row_id, ask=True), add_special_tokens=False)
        if list(input_ids[:start]) != prompt["input_ids"]:
            raise MaskError(
                f"{where(row_id, index)}{_merged(input_ids[:start], prompt['input_ids'], tokenizer)}"
            )


def loss_by_role(row: Mapping[str, Any], messages: Sequence[Message], tokenizer: Any) -> Counter[str]:
    """Tokens under loss by who said them: a message's role (an end-of-turn token belongs to what it ends), or "template".

    Looks for the messages in the decoded row and knows nothing of how the mask was made.
    """
    text = _decode(list(row["input_ids"]), tokenizer)
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if read["input_ids"] != list(row["input_ids"]):
        raise MaskError(
            f"{where(str(row.get('trajectory_id') or ''))}the decoded row does not read as its tokens"
        )
    spans = _spans(text, messages, tokenizer)
    counts: Counter[str] = Counter()
    at = 0
    for (start, end), label in zip(read["offset_mapping"], row["labels"], strict=True):
        while at < len(spans) and spans[at][1] <= start:
            at += 1
        if label == IGNORED:
            continue
        inside = at < len(spans) and spans[at][0] <= start and end <= spans[at][1]
        counts[spans[at][2] if inside else "template"] += 1
    return counts


def _spans(text: str, messages: Sequence[Message], tokenizer: Any) -> list[tuple[int, int, str]]:
    """(start, end, role) of every message in the decoded row, in order, the blanks before a reply and its end of turn included."""
    spans = []
    at, before = 0, lead(tokenizer)
    for message in messages:
        content = _normalised(message["content"].strip(), tokenizer)
        start = text.find(content, at)
        if start < 0:
            continue
        at = start + len(content)
        end = next((t for t in special_tokens(tokenizer) if text.startswith(t, at)), "")
        at += len(end)
        begins = start - len(before) if before and text.startswith(before, start - len(before)) else start
        spans.append((begins, at, message["role"]))
    return spans


def _prove_cuts(segments: Sequence[Segment], tokenizer: Any, row_id: str) -> None:
    """A reply read by itself has the tokens that it has behind its question; what a question ends with is the letters since its last special token."""
    marks = special_tokens(tokenizer)
    pairs: list[tuple[str, str]] = []
    for asked, said in pairwise(segments):
        cut = max((at + len(t) for t in marks if (at := asked.text.rfind(t)) >= 0), default=0)
        if said.has_loss and cut < len(asked.text):
            pairs.append((asked.text[cut:], said.text))
    if not pairs:
        return
    texts = list(dict.fromkeys(text for tail, reply in pairs for text in (tail, reply, tail + reply)))
    ids = dict(zip(texts, _read(texts, tokenizer), strict=True))
    for tail, reply in pairs:
        apart = ids[tail] + ids[reply]
        if apart != ids[tail + reply]:
            raise MaskError(f"{where(row_id)}{_merged(apart, ids[tail + reply], tokenizer)}")


_full_proofs: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()


def _owes_full_proof(tokenizer: Any) -> bool:
    """Fast tokenizers cut a text at its special tokens before all else, and what `_prove_cuts` finds is then proof enough; the first
    rows, and all rows where that may not be so, are proven prompt by prompt."""
    done = _full_proofs.get(tokenizer, 0)
    _full_proofs[tokenizer] = done + 1
    marks = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    soft = any(token.lstrip or token.rstrip or token.single_word or token.normalized for token in marks)
    return done < _PROVEN_IN_FULL or soft or not getattr(tokenizer, "is_fast", False)


def _read(texts: list[str], tokenizer: Any) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]


def _merged(trained: Sequence[int], read: Sequence[int], tokenizer: Any) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(trained, read, strict=False)) if a != b),
        min(len(trained), len(read)),
    )
    start = max(0, at - 3)
    shown = [[_decode([i], tokenizer) for i in ids[start : at + 3]] for ids in (trained, read)]
    return (
        f"the tokenizer reads letters of two turns as one token: trained on {shown[0]}, but the engine reads {shown[1]}; "
        "use a template with a special token or a line break between what is asked and what is said"
    )


def _bounds(labels: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(start, stop) of each stretch under loss."""
    edges = [0] + [i + 1 for i, (a, b) in enumerate(pairwise(labels)) if (a == IGNORED) != (b == IGNORED)]
    for start, stop in pairwise([*edges, len(labels)]):
        if labels[start] != IGNORED:
            yield start, stop


def _read_stretch(ids: list[int], tokenizer: Any, at: str) -> str:
    text = _decode(ids, tokenizer)
    if ids[-1] not in special_tokens(tokenizer).values():
        raise MaskError(f"{at}a stretch under loss does not end with an end-of-turn token: ...{text[-40:]!r}")
    return text[: -len(_decode(ids[-1:], tokenizer))]


def _match_texts(texts: tuple[str, ...], messages: Sequence[Message], tokenizer: Any, at: str) -> None:
    replies = [(i, m["content"]) for i, m in enumerate(messages) if m["role"] == "assistant"]
    if len(texts) != len(replies):
        raise MaskError(f"{at}{len(texts)} stretches under loss but {len(replies)} messages of the assistant")
    for text, (index, reply) in zip(texts, replies, strict=True):
        forms = (lead(tokenizer) + reply, lead(tokenizer) + reply.strip())
        if text not in [_normalised(form, tokenizer) for form in forms]:
            raise MaskError(
                f"{at}message {index}: the tokens under loss are not the reply: {difference(reply, text)}"
            )


def _decode(ids: list[int], tokenizer: Any) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _normalised(text: str, tokenizer: Any) -> str:
    """The text after the tokenizer's own Unicode normalisation, which decoding cannot undo."""
    if text.isascii():
        return text
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    return normalizer.normalize_str(text) if normalizer else text
