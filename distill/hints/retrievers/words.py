"""The words of a text that say something: what retrievers compare. Knows neither hints nor tasks."""

import re

# Words of advice in general: they make two hints look alike and a task look matched, and tell nothing apart.
_STOP = frozenset(
    "a an the and or of to in on at it its is are be you your that this these those with for from by as if when then before after first only every "
    "each any all do not never no one into them they there has have had task look see place places thing things put middle room around quickly".split()
)


def content_words(text: str) -> list[str]:
    """Content words, cut to a rough stem; slots and numbers are no words."""
    plain = re.sub(r"\{[^{}]*\}|\d+", " ", text.lower())
    return [_stem(word) for word in re.findall(r"[a-z]+", plain) if word not in _STOP]


def slots(text: str) -> list[str]:
    return re.findall(r"\{[^{}]*\}", text.lower())


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
