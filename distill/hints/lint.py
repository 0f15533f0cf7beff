"""What a hint must look like to be worth giving: short, general, an instruction. Knows nothing of who wrote it."""

import re

MAX_CHARS = 120

RULES = (
    "too-short",
    "too-long",
    "one-line",
    "unprintable",
    "placeholder",
    "one-episode",
    "meta-talk",
    "no-instruction",
)

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_ ]*")
# `fridge 1`, but not `step 1`-less counts such as "first 2 results": an entity is a word with a number at its right.
_ENTITY = re.compile(
    r"\b(?!(?:first|last|top|least|most|only|exactly|than|to|of|the|take|find|put|step|page|at|up)\b)[a-z]{3,} \d+\b"
)
_CODE = re.compile(r"\b(?=[A-Z0-9]*\d)B[A-Z0-9]{9}\b")
_META = re.compile(
    r"\b(?:the (?:agent|model|player|assistant|robot|trajectory|trace|episode|transcript)|this (?:episode|trajectory|attempt|failure)|hints?|json|as an ai"
    r"|gold plan|previous (?:attempt|episode)|failed because|was unable|should have)\b",
    re.IGNORECASE,
)
_NOT_IMPERATIVE = re.compile(
    r"^(?:the|this|that|there|it|they|he|she|we|you (?:were|are|did|have)|i|agents?|models?|because|since|failure)\b",
    re.IGNORECASE,
)


def lint(text: str) -> list[str]:
    """What is wrong with a hint, in words; an empty list for a good one."""
    return [problem for _, problem in broken_rules(text)]


def broken_rules(text: str) -> list[tuple[str, str]]:
    """(rule, what is wrong) for each of `RULES` that a hint breaks."""
    stripped = text.strip()
    problems = []
    if len(stripped.split()) < 2:
        problems.append(("too-short", "says too little"))
    if len(stripped) > MAX_CHARS:
        problems.append(("too-long", f"{len(stripped)} characters, at most {MAX_CHARS}"))
    if "\n" in stripped:
        problems.append(("one-line", "more than one line"))
    # Escape sequences, bidirectional marks and halves of characters have no business in a prompt or on a terminal.
    if unprintable := next((char for char in stripped if not char.isprintable() and char != "\n"), None):
        problems.append(
            ("unprintable", f"holds the character U+{ord(unprintable):04X}, which cannot be seen")
        )
    names = _PLACEHOLDER.findall(stripped)
    if re.search(r"[{}]", _PLACEHOLDER.sub("", stripped)) or not all(
        _NAME.fullmatch(name.strip()) for name in names
    ):
        problems.append(("placeholder", "a placeholder is not of the form {object}"))
    if entity := _ENTITY.search(stripped.lower()) or _CODE.search(stripped):
        problems.append(("one-episode", f"names one thing of one episode: {entity[0]!r}"))
    if meta := _META.search(stripped):
        problems.append(("meta-talk", f"talks about the episode instead of advising: {meta[0]!r}"))
    if _NOT_IMPERATIVE.search(stripped):
        problems.append(("no-instruction", "does not start as an instruction"))
    return problems
