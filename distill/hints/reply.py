"""What a hint writer's reply says: strict JSON where it is given, whatever can be saved where it is not."""

import json
import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from distill.hints.hint import normalise
from distill.hints.lint import lint


class WrittenHint(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str


class WrittenHints(BaseModel):
    """The form that the writer is asked for; its JSON schema goes to servers that can hold to one."""

    model_config = ConfigDict(extra="forbid")
    hints: list[WrittenHint]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one reply gave."""

    texts: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    """(text, why) of hints that lint refused; they do not cost the others."""
    problem: str | None = None
    """Why no list of hints could be read at all; None if one could."""


_FENCE = re.compile(r"^```[a-z]*\s*|\s*```$", re.IGNORECASE)
_TRAILING_COMMA = re.compile(r",\s*([\]}])")
_TEXT = re.compile(r'"text"\s*:\s*("(?:[^"\\]|\\.)*")')


def read_reply(reply: str, max_hints: int) -> Reading:
    """At most `max_hints` good hints of a reply; never raises."""
    found, problem = _parse(reply)
    if found is None:
        return Reading(problem=problem)
    texts: list[str] = []
    rejected: list[tuple[str, str]] = []
    for text in found:
        text = " ".join(text.split())
        if problems := lint(text):
            rejected.append((text, "; ".join(problems)))
        elif normalise(text) not in {normalise(known) for known in texts}:
            texts.append(text)
    return Reading(texts=tuple(texts[:max_hints]), rejected=tuple(rejected))


def _parse(reply: str) -> tuple[list[str] | None, str]:
    problem = "it holds no JSON object"
    for candidate in _candidates(reply):
        try:
            return [hint.text for hint in WrittenHints.model_validate_json(candidate).hints], ""
        except ValidationError as error:
            problem = _first_line(error)
        if (texts := _lenient(candidate)) is not None:
            return texts, ""
    # A reply that was cut off still holds the hints written before the cut.
    saved = [json.loads(match) for match in _TEXT.findall(reply)]
    return (saved, "") if saved else (None, problem)


def _candidates(reply: str) -> list[str]:
    """The reply, its fence taken off, and the outermost object within it; each also without trailing commas."""
    bare = _FENCE.sub("", reply.strip())
    start, stop = bare.find("{"), bare.rfind("}")
    cut = bare[start : stop + 1] if 0 <= start < stop else ""
    plain = [text for text in dict.fromkeys((bare, cut)) if text]
    return list(dict.fromkeys([*plain, *(_TRAILING_COMMA.sub(r"\1", text) for text in plain)]))


def _lenient(candidate: str) -> list[str] | None:
    """Other shapes that say the same: a bare list, strings for objects, other names for `text`."""
    try:
        document = json.loads(candidate)
    except ValueError:
        return None
    entries = document.get("hints") if isinstance(document, dict) else document
    if not isinstance(entries, list):
        return None
    texts = [entry if isinstance(entry, str) else _text_of(entry) for entry in entries]
    return [text for text in texts if text] if any(texts) or not entries else None


def _text_of(entry: object) -> str | None:
    if not isinstance(entry, dict):
        return None
    return next(
        (entry[name] for name in ("text", "hint", "advice") if isinstance(entry.get(name), str)), None
    )


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{first['msg'].lower()}{f' at {where}' if where else ''}"
