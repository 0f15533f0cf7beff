"""One shopper in the shop: what a click or a search does to the page, as in the original. Knows nothing of how a page is shown.

Where the shopper stands is told from the page's address, as the original does it: an address that holds "search_results" is a results page,
whatever else it is.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from envs.webshop.catalogue import Catalogue
from envs.webshop.goals import Goal
from envs.webshop.products import Product
from envs.webshop.reward import Protocol, Purchase, Reward, reward

Kind = Literal["index", "results", "item", "sub", "done"]
BASE_URL = "http://127.0.0.1:3000"
MOST_RESULTS = 50
PAGE_SIZE = 10
SUB_PAGES = ("description", "features", "reviews")
_ACTION = re.compile(r"(.+)\[(.+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    kind: Kind
    url: str
    number: int = 1
    """Of the results."""
    total: int = 0
    products: tuple[int, ...] = ()
    """Shown on a results page."""
    sub_page: str = ""
    last: bool = False
    """No results lie behind this page."""


@dataclass(slots=True)
class Outcome:
    """What an action did."""

    valid: bool
    reward: Reward | None = None
    """Of a purchase."""
    chosen: str = ""
    """The option's value that was clicked."""


@dataclass(slots=True)
class Session:
    """`name` stands in the addresses; the original's tests use the goal's number."""

    catalogue: Catalogue
    goal: Goal
    name: str
    protocol: Protocol
    rng: random.Random
    page: Page = field(init=False)
    clickables: dict[str, str | None] = field(init=False)
    """What can be clicked, in the original's order; of an option's value, the option's name."""
    _renamed: dict[str, str] = field(init=False, default_factory=dict)
    keywords: list[str] = field(init=False, default_factory=list)
    results_page: int = field(init=False, default=1)
    product: int | None = field(init=False, default=None)
    options: dict[str, str] = field(init=False, default_factory=dict)
    visited: set[str] = field(init=False, default_factory=set)
    locked: bool = field(init=False, default=False)
    """Something was bought; only `fixed` ends there."""
    worth: float = field(init=False, default=0.0)
    """Of the last purchase."""
    prices: dict[str, float] = field(default_factory=dict)
    """Prices that take the catalogue's place, such as recorded ones."""

    def __post_init__(self) -> None:
        self._start()

    def act(self, action: str) -> Outcome:
        found = _ACTION.match(action)
        if found is None or (self.locked and self.protocol == "fixed"):
            return Outcome(valid=False)
        name, argument = found[1], found[2].lower()
        if name == "search" and argument:
            return self._search(argument)
        # The original clicks nothing called "search", not even an option's value.
        clicked = argument != "search" or (self.protocol == "fixed" and self.page.kind != "index")
        if name == "click" and clicked and argument in self.clickables:
            return self._click(argument)
        return Outcome(valid=False)

    def _buttons(self, page: Page) -> dict[str, str | None]:
        if page.kind == "index":
            return {"search": None}
        if page.kind == "done":
            return {}
        if page.kind == "sub":
            return dict.fromkeys(("back to search", "< prev"))
        if page.kind == "item":
            return self._item_buttons()
        buttons = ["back to search", *(["< prev"] if page.number > 1 else [])]
        if not (self.protocol == "fixed" and page.last):
            buttons.append("next >")
        return dict.fromkeys([*buttons, *(self.catalogue.card(p)[0].lower() for p in page.products)])

    def _item_buttons(self) -> dict[str, str | None]:
        """The original lets a value take the place of a button or of another option's equal value; `fixed` names its option."""
        held: dict[str, str | None] = dict.fromkeys(("back to search", "< prev", *SUB_PAGES, "buy now"))
        for option, values in self.shown.options.items():
            for value in values:
                if self.protocol == "fixed" and value in held and held[value] != option:
                    self._renamed[f"{option}: {value}"] = value
                    value = f"{option}: {value}"
                held[value] = option
        return held

    def _turn_to(self, page: Page) -> None:
        self.page = page
        self._renamed = {}
        self.clickables = self._buttons(page)

    @property
    def shown(self) -> Product:
        """The product whose page is open."""
        assert self.product is not None
        return self.catalogue.product(self.product)

    @property
    def asin(self) -> str | None:
        return None if self.product is None else self.catalogue.card(self.product)[0]

    def _start(self) -> None:
        self.keywords, self.results_page, self.product = [], 1, None
        self.options, self.visited = {}, set()
        self._turn_to(Page(kind="index", url=f"{BASE_URL}/{self.name}"))

    def _search(self, text: str) -> Outcome:
        if self.protocol == "fixed" and self.page.kind != "index":
            return Outcome(valid=False)
        keywords = text.split(" ")
        if keywords[0] == "<a>" or (keywords[0] == "<c>" and len(keywords) < 2):
            # The original's server breaks down here.
            return Outcome(valid=False)
        self._show_results(keywords, 1)
        return Outcome(valid=True)

    def _show_results(self, keywords: list[str], number: int) -> None:
        self.keywords, self.results_page = keywords, number
        self.product, self.options = None, {}
        found = self._found(keywords)
        start, end = (number - 1) * PAGE_SIZE, number * PAGE_SIZE
        self._turn_to(
            Page(
                kind="results",
                url=f"{BASE_URL}/search_results/{self.name}/{'+'.join(keywords)}/{number}",
                number=number,
                total=len(found),
                products=tuple(int(product) for product in found[start:end]),
                last=end >= len(found),
            )
        )

    def _found(self, keywords: list[str]) -> Sequence[int]:
        shop = self.catalogue
        if keywords[0] == "<r>":
            return self.rng.sample(range(shop.num_products), min(MOST_RESULTS, shop.num_products))
        if keywords[0] == "<c>":
            name = keywords[1] if self.protocol == "original" else " ".join(keywords[1:])
            return shop.in_category(name.strip())  # type: ignore[return-value]
        if keywords[0] == "<q>":
            return shop.with_query(" ".join(keywords[1:]).strip())  # type: ignore[return-value]
        return shop.searcher.documents(" ".join(keywords), MOST_RESULTS)

    def _click(self, argument: str) -> Outcome:
        option = self.clickables[argument]
        if self.protocol == "fixed" and option is not None:
            return self._choose(self._renamed.get(argument, argument), option)
        where = self._standing()
        if argument == "buy now":
            return self._buy()
        if argument == "back to search":
            self._start()
        elif argument == "next >" and where == "search_results":
            self._show_results(self.keywords, self.results_page + 1)
        elif argument == "< prev" and where == "search_results":
            self._show_results(self.keywords, self.results_page - 1)
        elif argument == "< prev" and where == "item_sub_page":
            self._show_item()
        elif argument == "< prev" and where == "item_page":
            self._show_results(self.keywords, self.results_page)
        elif argument in SUB_PAGES or argument == "attributes":
            self._show_sub_page(argument)
        elif option is not None:
            return self._choose(argument, option)
        else:
            self._open(argument)
        return Outcome(valid=True)

    def _standing(self) -> str:
        names = {"results": "search_results", "item": "item_page", "sub": "item_sub_page", "done": "done"}
        if self.protocol == "fixed":
            return names.get(self.page.kind, "")
        return next((name for name in names.values() if name in self.page.url), "")

    def _open(self, link: str) -> None:
        """Follow a product's link, or show the page again for a button that leads nowhere from here."""
        cards = ((product, self.catalogue.card(product)[0]) for product in self.page.products)
        found = next(((product, asin) for product, asin in cards if asin.lower() == link), None)
        if found is not None:
            self.product = found[0]
            self.visited.add(found[1])
        if self.product is not None:
            self._show_item()

    def _choose(self, value: str, option: str) -> Outcome:
        self.options[option] = value
        self._show_item()
        return Outcome(valid=True, chosen=value)

    def _show_item(self) -> None:
        url = f"{self._item_url('item_page')}/{json.dumps(self.options)}"
        self._turn_to(Page(kind="item", url=url))

    def _show_sub_page(self, name: str) -> None:
        url = f"{self._item_url('item_sub_page')}/{name.capitalize()}/{self.options}"
        self._turn_to(Page(kind="sub", url=url, sub_page=name))

    def _item_url(self, kind: str) -> str:
        return f"{BASE_URL}/{kind}/{self.name}/{self.asin}/{'+'.join(self.keywords)}/{self.results_page}"

    def _buy(self) -> Outcome:
        product, number = self.shown, self.product
        assert number is not None
        bought = Purchase(
            product=product,
            nouns=self.catalogue.nouns(number),
            price=self.prices.get(product.asin, self.catalogue.price(number)),
            options=self.options,
        )
        target = self.catalogue.number(self.goal.asin)
        goal_nouns = [] if target is None else self.catalogue.nouns(target)
        worth = reward(bought, self.goal, goal_nouns, self.protocol)
        self._turn_to(Page(kind="done", url=f"{BASE_URL}/done/{self.name}/{product.asin}/{self.options}"))
        self.locked, self.worth = True, worth.total
        return Outcome(valid=True, reward=worth)
