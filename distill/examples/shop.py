"""What a shopper knows and thinks before each action, by rules from what was done and read. Knows no agent's format."""

import re
from dataclasses import dataclass, field

from distill.examples.household import Played
from envs.task import Task

SEARCH_PAGE = "search page"
_ACTION = re.compile(r"(search|click)\[(.+)\]", re.DOTALL)
_SUB_PAGES = ("description", "features", "reviews", "attributes")
_WAYS = (*_SUB_PAGES, "back to search", "< prev", "next >")


@dataclass(slots=True, kw_only=True)
class ShopState:
    """Where the shopper stands and what is chosen there."""

    page: int = 0
    """Of the results; 0 before a search."""
    product: str = ""
    """Its code, while its page is open."""
    sub_page: str = ""
    selection: list[str] = field(default_factory=list)

    @property
    def location(self) -> str:
        if self.product:
            return f"item page {self.product}" + (f", {self.sub_page}" if self.sub_page else "")
        return f"results page {self.page}" if self.page else SEARCH_PAGE

    def fields(self) -> dict[str, str]:
        """As the grammars name them; "": nothing to say."""
        return {"current_location": self.location, "current_selection": ", ".join(self.selection)}

    def follow(self, action: str) -> None:
        """An action that the shop allowed."""
        found = _ACTION.fullmatch(action)
        if found is None:
            return
        verb, word = found[1], found[2].lower()
        if verb == "search":
            self._leave(1)
        elif word == "back to search":
            self._leave(0)
        elif word in ("next >", "< prev") and not self.product:
            self._leave(self.page + (1 if word == "next >" else -1))
        elif word == "< prev" and self.sub_page:
            self.sub_page = ""
        elif word == "< prev":
            self._leave(self.page)
        elif self.product and word in _SUB_PAGES:
            self.sub_page = word
        elif self.product:
            self.selection += [word] * (word != "buy now" and word not in self.selection)
        else:
            self.product = found[2]

    def _leave(self, page: int) -> None:
        self.page, self.product, self.sub_page, self.selection = page, "", "", []


def narrate(task: Task, played: Played) -> list[dict[str, str]]:
    """The fields of each step's reply, "" for nothing to say."""
    state = ShopState()
    told = []
    for action, _ in played:
        told.append(
            {
                "goal": task.goal.rstrip(". "),
                **state.fields(),
                "thought": _thought(state, action),
            }
        )
        state.follow(action)
    return told


def _thought(state: ShopState, action: str) -> str:
    found = _ACTION.fullmatch(action)
    if found is None:
        return ""
    verb, word = found[1], found[2].lower()
    if verb == "search":
        return "I search for the words that tell the product from others."
    if word == "next >":
        return "Nothing here fits; I look at the next page."
    if word == "buy now":
        return "All that was asked for is chosen, so I buy it."
    if word in _WAYS:
        return ""
    return (
        f"The task asks for {word}, which I choose."
        if state.product
        else "This one seems to fit; I open its page."
    )
