"""A shopping episode as the agent saw it: what it searched, which products it opened, what it chose and bought. Judges nothing.

Reads the `compact` and `text_rich` views; the `text` view does not mark what can be clicked, so that options are unknown there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.trajectory import Turn

_ACTION = re.compile(r"(search|click)\[(.+)\]$")
_RICH_BUTTON = re.compile(r"\[(?:clicked )?button\] (.*?) \[(?:clicked )?button_\]")
_BUTTON = re.compile(r"\[([^\[\]]+)\]")
_PRICE = re.compile(r"\$(\d[\d,]*(?:\.\d+)?)")
_CAP = re.compile(r",?\s*(?:and )?price lower than (\d+(?:\.\d+)?) dollars")
_PAGE_BUTTONS = {
    "back to search",
    "< prev",
    "next >",
    "description",
    "features",
    "reviews",
    "buy now",
    "search",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A product in a list of results."""

    asin: str
    title: str
    price: float | None
    """The lower one of a range; None where none is shown."""


@dataclass(slots=True, kw_only=True)
class Visit:
    """A product that was opened."""

    asin: str
    title: str
    price: float | None
    options: dict[str, tuple[str, ...]]
    """Option name -> values that can be clicked; empty where the view does not mark them."""
    listed: tuple[Card, ...]
    """The results that it was chosen from."""
    chosen: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Trace:
    wanted: str
    """The instruction without its price clause, in lower case."""
    cap: float | None
    queries: list[str] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    bought: Visit | None = None
    refused: int = 0


def read_trace(instruction: str, turns: Sequence[Turn]) -> Trace:
    cap = _CAP.search(instruction)
    trace = Trace(wanted=_CAP.sub("", instruction).strip().lower(), cap=float(cap[1]) if cap else None)
    listed: tuple[Card, ...] = ()
    for turn in turns:
        if turn.action is None:
            continue
        if not turn.valid:
            trace.refused += 1
            continue
        said = _ACTION.match(turn.action.strip())
        if said is None:
            continue
        page = plain(turn.observation)
        listed = _cards(page) or listed
        _follow(trace, said[1], said[2].lower(), page, listed)
    return trace


def plain(observation: str) -> str:
    """Any view as lines with `[button]` marks."""
    return _RICH_BUTTON.sub(r"[\1]", observation.replace(" [SEP] ", "\n"))


def is_named(value: str, text: str) -> bool:
    """Whether a text names an option's value as a word of its own: `large` is not in `x-large`."""
    return re.search(rf"(?<![\w.-]){re.escape(value)}(?![\w-]|\.\d)", text) is not None


def _follow(trace: Trace, verb: str, words: str, page: str, listed: tuple[Card, ...]) -> None:
    if verb == "search":
        trace.queries.append(words)
        return
    current = trace.visits[-1] if trace.visits else None
    if words == "buy now":
        trace.bought = current
        return
    card = next((card for card in listed if card.asin.lower() == words), None)
    if card is not None:
        trace.visits.append(_visit(card, page, listed))
    elif current is not None and any(words in values for values in current.options.values()):
        current.chosen.append(words)


def _cards(page: str) -> tuple[Card, ...]:
    """The products of a page of results."""
    if "(Total results: " not in page:
        return ()
    lines = [line for line in page.splitlines() if line.strip()]
    cards = []
    for at, line in enumerate(lines[:-2]):
        name = line.strip().strip("[]")
        if re.fullmatch(r"[A-Z0-9]{10}", name):
            cards.append(Card(asin=name, title=lines[at + 1].strip(), price=_price(lines[at + 2])))
    return tuple(cards)


def _visit(card: Card, page: str, listed: tuple[Card, ...]) -> Visit:
    options: dict[str, tuple[str, ...]] = {}
    name = ""
    for line in page.splitlines():
        values = [value for value in _BUTTON.findall(line) if value.lower() not in _PAGE_BUTTONS]
        label = line.partition("[")[0].strip()
        if "[" not in line:
            name = label
        elif values:
            name = label or name
            options[name] = (*options.get(name, ()), *(value.lower() for value in values))
    price = next((_price(line) for line in page.splitlines() if line.startswith("Price:")), card.price)
    return Visit(asin=card.asin, title=card.title, price=price, options=options, listed=listed)


def _price(line: str) -> float | None:
    found = _PRICE.search(line)
    return float(found[1].replace(",", "")) if found else None
