"""Writes plain values as YAML with comments that say why. Reads nothing, knows nothing of clusters."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_WIDTH = 118
_FLOW_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Why:
    """A value with the reason for it, which becomes a comment above."""

    text: str
    value: Any


def to_yaml(document: Mapping[str, Any]) -> str:
    return "\n".join(_lines(document, 0)) + "\n"


def plain(value: Any) -> Any:
    """The value without its reasons."""
    match value:
        case Why():
            return plain(value.value)
        case Mapping():
            return {key: plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
    return value


def comment(text: str, indent: int = 0) -> list[str]:
    """`text` as comment lines; its own line breaks stay, and indented lines, which are code, are not wrapped."""
    pad = " " * indent
    lines: list[str] = []
    for paragraph in text.strip("\n").split("\n"):
        is_code = paragraph[:1].isspace() or not paragraph
        lines += [paragraph] if is_code else textwrap.wrap(paragraph, _WIDTH - indent - 2)
    return [f"{pad}# {line}".rstrip() for line in lines]


def _lines(value: Any, indent: int) -> Iterator[str]:
    """A mapping or a list in block style."""
    pad = " " * indent
    if isinstance(value, Mapping):
        for key, held in value.items():
            why, inner = _opened(held)
            if why:
                yield from comment(why, indent)
            yield from _entry(f"{pad}{_scalar(key)}:", inner, indent + 2)
        return
    for held in value:
        why, inner = _opened(held)
        if why:
            yield from comment(why, indent)
        if _is_block(inner):
            first, *rest = _lines(inner, indent + 2)
            # A comment cannot stand between the dash and its first key.
            if first.lstrip().startswith("#"):
                yield f"{pad}-"
                yield from (first, *rest)
            else:
                yield f"{pad}- {first.lstrip()}"
                yield from rest
        else:
            yield from _entry(f"{pad}-", inner, indent + 2)


def _entry(start: str, value: Any, indent: int) -> Iterator[str]:
    if _is_block(value):
        yield start
        yield from _lines(value, indent)
    elif isinstance(value, str) and _reads_as_script(value):
        yield f"{start} {'|' if value.endswith(chr(10)) else '|-'}"
        yield from (" " * indent + line if line else "" for line in value.rstrip("\n").split("\n"))
    else:
        yield f"{start} {_flow(value)}"


def _reads_as_script(text: str) -> bool:
    """Whether YAML's literal style holds it as it is: that style guesses its indentation and keeps one final break."""
    lines = text.removesuffix("\n").split("\n")
    printable = all(line.isprintable() for line in lines)
    return len(lines) > 1 and printable and bool(lines[-1]) and bool(lines[0]) and not lines[0][0].isspace()


def _opened(value: Any) -> tuple[str, Any]:
    return (value.text, value.value) if isinstance(value, Why) else ("", value)


def _is_block(value: Any) -> bool:
    if isinstance(value, Mapping):
        held: Sequence[Any] = list(value.values())
    elif isinstance(value, list | tuple):
        held = value
        if len(held) > 0 and isinstance(held[0], str):
            return True  # Commands and paths: one a line.
    else:
        return False
    nested = any(isinstance(inner, Why | Mapping | list | tuple) for inner in held)
    return bool(held) and (nested or len(_flow(value)) > _FLOW_WIDTH)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """As PyYAML quotes it inside a flow, which is right outside of one too."""
    text = yaml.safe_dump([value], default_flow_style=True, width=10**9, allow_unicode=True).strip()
    return text.removeprefix("[").removesuffix("]")
