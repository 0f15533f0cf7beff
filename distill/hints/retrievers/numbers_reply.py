"""Which numbers a ranking model's reply names: JSON, or what is plainly meant as it. Never guesses from digits in running text."""

import json
import re
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"^```[a-z]*\s*|\s*```$", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[#h]?(\d{1,9})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    numbers: tuple[int, ...] = ()
    """Different ones in range, from 1, the best first, at most as many as were asked for."""
    problem: str | None = None
    """Why the reply cannot be used; None if it names as many as were asked for."""


def read_numbers(reply: str, num_candidates: int, k: int) -> Choice:
    """Numbers out of range and repeated ones do not count; naming more than `k` is no fault. Never raises."""
    said = _numbers(reply)
    if said is None:
        return Choice(problem="it holds no JSON list of numbers")
    good = tuple(dict.fromkeys(n for n in said if 1 <= n <= num_candidates))[:k]
    if len(good) == k:
        return Choice(numbers=good)
    strange = [n for n in said if not 1 <= n <= num_candidates]
    reasons = [f"it names {len(good)} usable numbers instead of {k}"]
    reasons += [f"{strange[0]} is not between 1 and {num_candidates}"] if strange else []
    reasons += ["a number stands in it twice"] if len(set(said)) < len(said) else []
    return Choice(numbers=good, problem=", ".join(reasons))


def _numbers(reply: str) -> list[int] | None:
    bare = _FENCE.sub("", reply.strip())
    for opening, closing in ("{}", "[]"):
        start, stop = bare.find(opening), bare.rfind(closing)
        for text in dict.fromkeys((bare, bare[start : stop + 1] if 0 <= start < stop else "")):
            found = _list_in(text)
            if found is not None:
                return found
    return None


def _list_in(text: str) -> list[int] | None:
    try:
        document = json.loads(text)
    # A deeply nested text is as malformed as any other.
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict):
        document = next((value for value in document.values() if isinstance(value, list)), None)
    if not isinstance(document, list):
        return None
    return [number for entry in document if (number := _number(entry)) is not None]


def _number(entry: Any) -> int | None:
    if isinstance(entry, bool):
        return None
    if isinstance(entry, int):
        return entry
    if isinstance(entry, float) and entry.is_integer():
        return int(entry)
    found = _NUMBER.fullmatch(entry) if isinstance(entry, str) else None
    return int(found[1]) if found else None
