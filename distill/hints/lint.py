"""What a hint must look like to be worth giving: short, general, an instruction. Knows nothing of who wrote it."""

import re

MAX_CHARS = 120

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
    stripped = text.strip()
    problems = []
    if len(stripped.split()) < 2:
        problems.append("says too little")
    if len(stripped) > MAX_CHARS:
        problems.append(f"{len(stripped)} characters, at most {MAX_CHARS}")
    if "\n" in stripped:
        problems.append("more than one line")
    names = _PLACEHOLDER.findall(stripped)
    if re.search(r"[{}]", _PLACEHOLDER.sub("", stripped)) or not all(
        _NAME.fullmatch(name.strip()) for name in names
    ):
        problems.append("a placeholder is not of the form {object}")
    if entity := _ENTITY.search(stripped.lower()) or _CODE.search(stripped):
        problems.append(f"names one thing of one episode: {entity[0]!r}")
    if meta := _META.search(stripped):
        problems.append(f"talks about the episode instead of advising: {meta[0]!r}")
    if _NOT_IMPERATIVE.search(stripped):
        problems.append("does not start as an instruction")
    return problems
