"""A conversation as its chat template renders it, cut where the assistant starts and stops to speak.

What counts is what the engine reads at play: the prompt of every turn, and in the prompts of later turns the reply as it was said. A template
whose prompts are not append-only is refused, because no single row can equal all of them. Renders text alone; knows no token ids.
"""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from train.errors import MaskError

Message = Mapping[str, str]

_CHECKED = 8
"""Rows that are rendered both ways before the short one is believed."""
_FOLLOW_UP = {"role": "user", "content": "OK."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of the rendered conversation; boundaries lie where the model starts and stops to speak."""

    text: str
    has_loss: bool


def segment(messages: Sequence[Message], tokenizer: Any, *, row_id: str = "") -> list[Segment]:
    """The row's text in stretches; `MaskError` where the template does not show the model what the row would teach."""
    chat = [{"role": m["role"], "content": m["content"]} for m in messages]
    known = _known(tokenizer)
    if known.by_clock:
        raise MaskError(
            f"{where(row_id)}the chat template writes the date of the day, so rows made today are not the prompts of tomorrow; "
            "write a fixed date into the model's chat_template.jinja"
        )
    _check_messages(chat, tokenizer, row_id)
    skeleton = _skeleton(tuple(m["role"] for m in chat), tokenizer)
    if skeleton is None:
        return segment_by_prompts(chat, tokenizer, row_id)
    segments = skeleton.fill([m["content"] for m in chat])
    # One render instead of one for every prompt: the skeleton's prompts are proven, so only the contents could make the
    # template do something else, and then the whole differs.
    text = "".join(s.text for s in segments)
    if skeleton.ends_as_told:
        fits = text == render(chat, tokenizer, row_id)
    else:
        fits = render([*chat, _FOLLOW_UP], tokenizer, row_id, ask=True).startswith(text)
    if fits and not known.unchecked:
        return segments
    known.unchecked = max(0, known.unchecked - 1)
    return segment_by_prompts(chat, tokenizer, row_id)


def segment_by_prompts(messages: list[dict[str, str]], tokenizer: Any, row_id: str = "") -> list[Segment]:
    """`segment` by the prompt of every single turn: slow and without assumptions."""
    replies = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    asked = [render(messages[:i], tokenizer, row_id, ask=True) for i in replies]
    after = [*asked[1:], _after_last_reply(messages, replies[-1], asked[-1], tokenizer, row_id)]
    segments: list[Segment] = []
    done = ""
    for index, prompt, later in zip(replies, asked, after, strict=True):
        _must_continue(done, prompt, index, row_id)
        _must_continue(prompt, later, index, row_id)
        spoken = _spoken(messages[index]["content"], later[len(prompt) :], tokenizer, index, row_id)
        segments += [Segment(text=prompt[len(done) :], has_loss=False), Segment(text=spoken, has_loss=True)]
        done = prompt + spoken
    whole = render(messages, tokenizer, row_id)
    if replies[-1] < len(messages) - 1:
        _must_continue(done, whole, len(messages) - 1, row_id)
    if whole.startswith(done) and (tail := whole[len(done) :]):
        segments.append(Segment(text=tail, has_loss=False))
    return [s for s in segments if s.text]


def _after_last_reply(
    messages: list[dict[str, str]], index: int, prompt: str, tokenizer: Any, row_id: str
) -> str:
    """A rendering that shows the last reply after its prompt: the conversation's own end or, where that shows more than was said
    (the empty thought of Qwen3), the prompt that would follow."""
    told = render(messages, tokenizer, row_id)
    if index < len(messages) - 1 or _shows(messages[index]["content"], told, prompt, tokenizer):
        return told
    followed = render([*messages, _FOLLOW_UP], tokenizer, row_id, ask=True)
    return followed if _shows(messages[index]["content"], followed, prompt, tokenizer) else told


def _shows(content: str, text: str, prompt: str, tokenizer: Any) -> bool:
    return text.startswith(prompt) and _form(content, text[len(prompt) :], tokenizer) is not None


def _form(content: str, rendered: str, tokenizer: Any) -> str | None:
    # Some templates trim what was said; later prompts then hold the trimmed words, and so does the row.
    forms = (lead(tokenizer) + content, lead(tokenizer) + content.strip())
    return next((form for form in forms if rendered.startswith(form)), None)


def _spoken(content: str, rendered: str, tokenizer: Any, index: int, row_id: str) -> str:
    """The reply with its end-of-turn token, at the head of what the template rendered after the prompt."""
    text = _form(content, rendered, tokenizer)
    if text is None:
        raise MaskError(
            f"{where(row_id, index)}the chat template rewrites the reply: {difference(content, rendered)}; "
            "use a template that keeps replies as they were said"
        )
    rest = rendered[len(text) :]
    end = next((token for token in special_tokens(tokenizer) if rest.startswith(token)), None)
    if end is None:
        raise MaskError(
            f"{where(row_id, index)}the chat template does not close the reply with an end-of-turn token "
            f"(it renders {rest[:40]!r}), so the model would never learn to stop"
        )
    return text + end


def _must_continue(prefix: str, text: str, index: int, row_id: str) -> None:
    if not text.startswith(prefix):
        raise MaskError(
            f"{where(row_id, index)}the chat template does not keep earlier turns as they were "
            f"(thinking removed from the history, a system prompt moved, turns in another order?): {difference(prefix, text)}; "
            "training on it would not match the prompts at play, use an append-only template"
        )


# What is known of a template, found out once for each tokenizer.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Skeleton:
    """The template's own words around the messages, proven once for each sequence of roles, so that a long conversation
    needs one render and not one for every turn."""

    pieces: tuple[tuple[tuple[str | int, ...], bool], ...]
    """Segments as (strings and message indices, has_loss)."""
    ends_as_told: bool
    """Whether the rendered conversation is the row; else its end is read in the prompt that would follow."""

    def fill(self, contents: list[str]) -> list[Segment]:
        return [
            Segment(text="".join(p if isinstance(p, str) else contents[p] for p in parts), has_loss=has_loss)
            for parts, has_loss in self.pieces
        ]


@dataclass(slots=True, kw_only=True)
class _Known:
    by_clock: bool
    lead: str
    unchecked: int = _CHECKED
    skeletons: dict[tuple[str, ...], _Skeleton | None] = field(default_factory=dict)


_templates: "weakref.WeakKeyDictionary[Any, dict[str, _Known]]" = weakref.WeakKeyDictionary()
_specials: "weakref.WeakKeyDictionary[Any, dict[str, int]]" = weakref.WeakKeyDictionary()


def _known(tokenizer: Any) -> _Known:
    known = _templates.setdefault(tokenizer, {})
    template = str(tokenizer.chat_template)
    if template not in known:
        known[template] = _Known(by_clock=_reads_clock(tokenizer, template), lead=_find_lead(tokenizer))
    return known[template]


def lead(tokenizer: Any) -> str:
    """The blanks that the template puts before every reply and not at the end of a prompt; the model learns to say them."""
    return _known(tokenizer).lead


def _find_lead(tokenizer: Any) -> str:
    asked = [{"role": "user", "content": "asked"}]
    try:
        prompt = render(asked, tokenizer, "", ask=True)
        later = render(
            [*asked, {"role": "assistant", "content": "said"}, _FOLLOW_UP], tokenizer, "", ask=True
        )
    except MaskError:
        return ""
    before = later[len(prompt) :].partition("said")[0] if later.startswith(prompt) else ""
    return before if before.isspace() else ""


def _reads_clock(tokenizer: Any, template: str) -> bool:
    if "strftime_now" not in template:
        return False
    days = [
        tokenizer.apply_chat_template([_FOLLOW_UP], tokenize=False, strftime_now=lambda _, day=day: day)
        for day in ("one day", "another")
    ]
    return days[0] != days[1]


def _skeleton(roles: tuple[str, ...], tokenizer: Any) -> _Skeleton | None:
    """None where the template does not render stand-in words plainly: then every row is rendered by its prompts."""
    known = _known(tokenizer).skeletons
    if roles not in known:
        known[roles] = _build_skeleton(roles, tokenizer)
    return known[roles]


def _build_skeleton(roles: tuple[str, ...], tokenizer: Any) -> _Skeleton | None:
    marks = [f"content{index}mark" for index in range(len(roles))]
    chat = [{"role": r, "content": m} for r, m in zip(roles, marks, strict=True)]
    try:
        segments = segment_by_prompts(chat, tokenizer)
    except MaskError:
        return None
    pieces = tuple((_split(s.text, marks), s.has_loss) for s in segments)
    if [p for parts, _ in pieces for p in parts if isinstance(p, int)] != list(range(len(roles))):
        return None
    text = "".join(s.text for s in segments)
    return _Skeleton(pieces=pieces, ends_as_told=text == render(chat, tokenizer, ""))


def _split(text: str, marks: list[str]) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    at = 0
    for index, mark in enumerate(marks):
        found = text.find(mark, at)
        if found >= 0:
            parts += [text[at:found], index]
            at = found + len(mark)
    return (*parts, text[at:])


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Special tokens and their ids: the end-of-sequence token first, then the longest."""
    if tokenizer not in _specials:
        found = {str(t): i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        found |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        order = sorted(found, key=lambda t: (t != tokenizer.eos_token, -len(t), t))
        _specials[tokenizer] = {token: found[token] for token in order}
    return _specials[tokenizer]


def _check_messages(messages: list[dict[str, str]], tokenizer: Any, row_id: str) -> None:
    if not any(m["role"] == "assistant" for m in messages):
        raise MaskError(f"{where(row_id)}no message of the assistant among {len(messages)}: nothing to learn")
    if messages[0]["role"] == "assistant":
        raise MaskError(f"{where(row_id, 0)}the conversation opens with the assistant; give the task first")
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if special := next((t for t in special_tokens(tokenizer) if t in message["content"]), None):
            raise MaskError(
                f"{where(row_id, index)}the reply holds the special token {special!r}; leave the row out"
            )


def render(messages: Sequence[Message], tokenizer: Any, row_id: str = "", *, ask: bool = False) -> str:
    """What the template makes of the messages; with `ask`, the prompt that the model answers."""
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
    except TemplateError as error:
        raise MaskError(
            f"{where(row_id, len(messages) - 1)}the chat template refuses the conversation: {error}"
        ) from error


def where(row_id: str, index: int | None = None) -> str:
    parts = ([f"row {row_id}"] if row_id else []) + ([f"message {index}"] if index is not None else [])
    return " ".join(parts) + ": " if parts else ""


def difference(expected: str, found: str, width: int = 40) -> str:
    """The two texts where they part."""
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b),
        min(len(expected), len(found)),
    )
    start = max(0, at - 15)
    return f"at character {at} expected {expected[start : at + width]!r}, found {found[start : at + width]!r}"
