"""Reads and writes replies by any grammar. Never raises for what a reply says: one that cannot be read is answered, and is an invalid turn."""

import re
from collections.abc import Iterator, Mapping
from functools import cache

from actors.agents.base import Parsed
from actors.agents.grammar import Grammar, Part

NOTHING = "None"
"""What a field says that has nothing to say."""


def parse(grammar: Grammar, reply: str) -> Parsed:
    """What the reply says; what is kept of it reads the same again."""
    lines = [line for raw in reply.splitlines() if (line := raw.strip())]
    return (
        _parse_line(grammar, lines[0] if lines else "")
        if grammar.lines == "one"
        else _parse_block(grammar, lines)
    )


def _parse_line(grammar: Grammar, line: str) -> Parsed:
    content = _prefix(grammar.action).sub("", line, count=1)
    if not content:
        return Parsed(reply=line, answer=grammar.empty)
    for field in grammar.fields:
        if field.alone is not None and (said := _marked(field).match(content)):
            return Parsed(reply=line, fields=((field.name, said[1]),), answer=field.alone)
    return Parsed(reply=line, action=content)


def _parse_block(grammar: Grammar, lines: list[str]) -> Parsed:
    fields: list[tuple[str, str]] = []
    for number, line in enumerate(lines):
        part, said = _labelled(grammar, line)
        if part is grammar.action:
            # A command below its label is still one; what follows it is not the model's to say.
            rest = (
                [said]
                if said
                else [text for text in lines[number + 1 : number + 2] if not _labelled(grammar, text)[0]]
            )
            if not rest:
                break
            kept = "\n".join(lines[: number + (1 if said else 2)])
            return Parsed(reply=kept, fields=tuple(fields), action=rest[0])
        if part is not None:
            fields.append((part.name, said))
        elif fields:
            name, before = fields[-1]
            fields[-1] = (name, f"{before} {line}".strip())
    # No fields: they would make it a thought, which is a valid turn.
    return Parsed(reply="\n".join(lines), answer=(grammar.unreadable if lines else "") or grammar.empty)


def _labelled(grammar: Grammar, line: str) -> tuple[Part | None, str]:
    """The part that a line begins and what it says of it; (None, line) for one that begins none."""
    for part in grammar.parts:
        if said := _begun(part).match(line):
            return part, said[1].strip()
    return None, line


def write_replies(
    grammar: Grammar, fields: Mapping[str, str], action: str
) -> Iterator[tuple[str, str | None]]:
    """(reply, answer) of the turns in which this is said and done; the last one acts, and its answer, None, is the world's.

    Raises `KeyError` for a field that the grammar needs and that is not given.
    """
    for field in grammar.fields:
        if field.alone is not None and (text := fields.get(field.name)):
            yield f"{field.label}: {text}", field.alone
    lines = [
        f"{field.label}: {text or NOTHING}"
        for field in grammar.fields
        if field.alone is None
        and (
            (text := fields.get(field.name, "") if field.optional else fields[field.name])
            or not field.optional
        )
    ]
    lines.append(action if grammar.action.bare else f"{grammar.action.label}: {action}")
    yield "\n".join(lines), None


@cache
def _prefix(action: Part) -> re.Pattern[str]:
    return re.compile(rf"^>?\s*(?:{action.pattern})?\s*", re.IGNORECASE)


@cache
def _marked(part: Part) -> re.Pattern[str]:
    return re.compile(rf"{part.pattern}\s*(.*)", re.IGNORECASE)


@cache
def _begun(part: Part) -> re.Pattern[str]:
    return re.compile(rf">?\s*(?:{part.pattern})(.*)", re.IGNORECASE | re.DOTALL)
