"""Talk of having been advised: by name ("the hint says") and, where a hint's own words come with it, by vague source ("I was told").

Knows no hints; who asks brings the words.
"""

import re

_NAMES = r"(?:hints?|advice|tips?|guidelines?|guidance|recommendations?|pointers?|reminders?)"
_SAYS = (
    r"(?:says?|said|tells?|told|suggests?|suggested|reminds?|reminded|recommends?|recommended|states?|mentions?|advises?|warns?|instructs?"
    r"|is to|was to|are to|were to)"
)
_TALK = re.compile(
    r"\b(?:"
    r"(?:hints?|advice|tips?|guidelines?|rules?) (?:i (?:was|were|am|have been|had been) given|given to me|above|from (?:earlier|previous|past) \w+)"
    rf"|{_NAMES} (?:\d+ )?(?:also )?{_SAYS}"
    r"|(?:according to|as per|following|based on|per|thanks to|remember(?:ing)?|recall(?:ing)?|apply(?:ing)?|using|use|follow|heed(?:ing)?|obey(?:ing)?)"
    rf" (?:the|this|that|these|those|my|your|given|our) (?:\w+ )?{_NAMES}"
    rf"|(?:as|like) (?:the |my |your )?{_NAMES} {_SAYS}"
    r"|as (?:hinted|advised)|(?:was|were|am|been) (?:advised|hinted) to"
    r"|earlier tries"
    r")\b",
    re.IGNORECASE,
)
_TELLER = re.compile(
    r"\b(?:"
    r"(?:i|we)(?:'ve|'m| have| had| was| were| am)(?: (?:also|been|once|just))* (?:told|taught|instructed|reminded|warned|advised|recommended|shown)"
    r"|(?:being|been|was|were) (?:told|taught|reminded|instructed|warned)"
    r"|(?:someone|somebody|they|people) (?:once )?(?:told|taught|said|says?|reminded|suggested|recommended|advised|warned)"
    r"|(?:as|like|what) (?:i (?:was|am) |i've been |we were )?(?:told|instructed|taught|recommended|suggested|directed|reminded)"
    r"|(?:i|we)(?:'ve| have)? (?:learned|learnt)"
    r"|(?:my|the|those|these|past|previous|prior|earlier) (?:\w+ )?(?:notes?|lessons?|rules?|instructions?|experience|training|attempts?|tries)"
    rf" (?:{_SAYS}|shows?|showed|teach(?:es)?|taught|was|is)"
    r"|from (?:past|previous|prior|earlier) (?:experience|attempts?|tries|games|episodes)"
    r"|the (?:rule|lesson|principle|trick|best practice|recommended way) (?:is|here|says)"
    r"|(?:i am|i'm|we are|one is) supposed to"
    r")\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")
_ENDINGS = ("ing", "ed", "es", "s", "e")


def names_advice(text: str) -> str | None:
    """The words by which a text speaks of hints as such."""
    found = _TALK.search(text)
    return found[0] if found else None


def recited(text: str) -> list[str]:
    """Stretches of a text that somebody is said to have told: the sentence and the one after it."""
    if not _TELLER.search(text):
        return []
    sentences = [s for s in _SENTENCE_END.split(text) if s]
    return [" ".join(sentences[n : n + 2]) for n, s in enumerate(sentences) if _TELLER.search(s)]


def stem(word: str) -> str:
    """A word without its ending, so that `opened` and `opening` are `open`; rough, and the same on both sides of a comparison."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word
