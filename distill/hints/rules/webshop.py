"""Bad habits of a shopper, told from actions and pages alone: never from the reward, nor from the product that was meant."""

import re

from actors.trajectory import Trajectory
from distill.hints.rules.webshop_trace import Card, Trace, Visit, is_named, read_trace

PHRASINGS: dict[str, tuple[str, ...]] = {
    "choose_options": (
        "Click the {option} that the task names before you click [Buy Now].",
        "On the page of the {item}, click every {option} of the task first and buy last.",
        "Never buy the {item} before each {option} of the task has been clicked.",
    ),
    "keep_to_price": (
        "Buy only an {item} whose price is below the limit of the task.",
        "Read the price of the {item} before you buy: it must be lower than the task allows.",
        "Leave an {item} that costs more than the task allows and open another one.",
    ),
    "read_titles": (
        "Read the titles of all results and open the one that has every {attribute} of the task.",
        "Do not open the first result at once: choose the {item} whose title names each {attribute}.",
        "Compare the titles of the results with the task and pick the {item} that fits best.",
    ),
    "find_options": (
        "If the page lacks the {option} you need, go back and open another {item}.",
        "When the {item} is not sold in the {option} of the task, return to the results and try the next one.",
    ),
    "short_query": (
        "Search with the name of the {item} and its {attribute}s only; leave out the price and filler words.",
        "Keep the search short: the {item} and its most telling {attribute}, no price, no whole sentence.",
    ),
    "decide": (
        "Buy the best {item} that you have seen before your steps run out.",
        "Do not browse to the end: when an {item} fits, click [Buy Now].",
    ),
    "use_buttons": (
        "Click only what stands in brackets on the page; search only from the first page.",
        "Use click[...] with a name that the page shows in brackets, exactly as it is written.",
    ),
}
SLIPS = frozenset({"use_buttons"})

_LONG_QUERY = 10
"""Words; the original's human shoppers search with four or five on average."""
_FILLER = re.compile(r"\b(?:price|dollars|looking for|i need|find me|show me|would like|lower than)\b")
_STOP_WORDS = frozenset(
    "a an and are at be buy by find for from has have i in is it its like looking me my need of on or should show some that the to wants want"
    " which with would friend".split()
)


def diagnose(trajectory: Trajectory) -> list[str]:
    """Habits shown, what spoilt the purchase most first; slips only where nothing else was found."""
    trace = read_trace(trajectory.task.goal, trajectory.turns)
    found = _purchase(trace, trace.bought) if trace.bought else []
    if any(_is_long(query) for query in trace.queries):
        found.append("short_query")
    if trace.bought is None and trace.visits:
        found.append("decide")
    return found or (["use_buttons"] if trace.refused else [])


def _purchase(trace: Trace, bought: Visit) -> list[str]:
    found = []
    if any(_left_out(values, bought, trace.wanted) for values in bought.options.values()):
        found.append("choose_options")
    if trace.cap is not None and bought.price is not None and bought.price > trace.cap:
        found.append("keep_to_price")
    if _fit(bought.title, trace.wanted) < max(
        (_fit(card.title, trace.wanted) for card in bought.listed if _affordable(card, trace.cap)), default=0
    ):
        found.append("read_titles")
    if any(
        is_named(name.lower(), trace.wanted) and not any(is_named(value, trace.wanted) for value in values)
        for name, values in bought.options.items()
    ):
        found.append("find_options")
    return found


def _left_out(values: tuple[str, ...], bought: Visit, wanted: str) -> bool:
    """The task names a value of this option, and another one or none was chosen."""
    named = [value for value in values if is_named(value, wanted)]
    return bool(named) and not any(value in bought.chosen for value in named)


def _affordable(card: Card, cap: float | None) -> bool:
    return cap is None or card.price is None or card.price <= cap


def _fit(title: str, wanted: str) -> int:
    """How many words of the task a title has."""
    words = set(re.findall(r"\w+", wanted)) - _STOP_WORDS
    return len(words & set(re.findall(r"\w+", title.lower())))


def _is_long(query: str) -> bool:
    return len(query.split()) > _LONG_QUERY or _FILLER.search(query) is not None
