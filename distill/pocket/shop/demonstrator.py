"""Shops with given habits, from what it has read alone. Knows nothing of advice, models or tokens.

Without mistakes in reading: every way in which it fails is the lack of a habit, or a shop that hides what fits behind the results shown.
"""

import random
import re
from collections.abc import Collection
from dataclasses import dataclass

from actors.trajectory import Turn
from distill.pocket.demonstrator import Demonstration, thought_turn
from distill.pocket.shop.habits import ShopHabit
from envs.webshop.assortment import KINDS
from envs.webshop.catalogue import Catalogue
from envs.webshop.goals import Goal
from envs.webshop.pages import render
from envs.webshop.session import Outcome, Session

RESULTS_SHOWN = 5
"""Products of a list that the pocket shopper reads."""
_NOUNS = sorted({noun.lower() for kind in KINDS for noun in kind.nouns}, key=lambda n: (-len(n), n))


class _EndOfEpisodeError(Exception):
    """Something was bought, or the step limit is reached."""


def noun_of(text: str) -> str:
    """What an instruction of a made-up shop asks for."""
    return next(noun for noun in _NOUNS if re.search(rf"\b{re.escape(noun)}\b", text.lower()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    asin: str
    price: float
    """The lower one of a range."""


def demonstrate(
    shop: Catalogue, goal: Goal, habits: Collection[ShopHabit], *, max_steps: int
) -> Demonstration:
    """One episode."""
    player = _Shopper(shop, goal, habits, max_steps)
    try:
        player.play()
    except _EndOfEpisodeError:
        pass
    return Demonstration(
        opening=player.opening, turns=tuple(player.turns), success=player.session.worth == 1.0
    )


class _Shopper:
    def __init__(self, shop: Catalogue, goal: Goal, habits: Collection[ShopHabit], max_steps: int):
        self.goal, self.habits, self.max_steps = goal, habits, max_steps
        self.session = Session(catalogue=shop, goal=goal, name="0", protocol="original", rng=random.Random(0))
        self.opening = render(self.session, "compact")
        self.turns: list[Turn] = []
        self.noun = noun_of(goal.text)
        self.wanted = [option for option in goal.options if isinstance(option, str)]
        """Values that a person named."""

    def play(self) -> None:
        self._think()
        self._do(f"search[{' '.join((self.noun, *self.goal.attributes))}]")
        cards = self._cards()
        affordable = [card for card in cards if card.price <= self.goal.price_upper]
        if ShopHabit.KEEP_TO_PRICE in self.habits and affordable:
            cards = affordable
        for number, card in enumerate(cards, start=1):
            self._do(f"click[{card.asin}]")
            if ShopHabit.FIND_OPTIONS not in self.habits or not self._missing() or number == len(cards):
                break
            self._do("click[< Prev]")
        if ShopHabit.CHOOSE_OPTIONS in self.habits:
            for option in self.wanted:
                if option not in self._missing():
                    self._do(f"click[{option}]")
        self._do("click[Buy Now]")

    def _think(self) -> None:
        """The plan: what advice changes is said where the advice has just been read."""
        has = self.habits.__contains__
        search = "I check each page." if has(ShopHabit.FIND_OPTIONS) else "I keep the first page."
        price = "I mind the price." if has(ShopHabit.KEEP_TO_PRICE) else "Any price will do."
        options = "I choose before I buy." if has(ShopHabit.CHOOSE_OPTIONS) else "I buy at once."
        thought = f"think: I need {self.noun}. {price} {search} {options}"
        self.turns.append(thought_turn(thought))

    def _do(self, command: str) -> None:
        if len(self.turns) > self.max_steps:
            raise _EndOfEpisodeError
        outcome: Outcome = self.session.act(command)
        shown = render(self.session, "compact", outcome=outcome, results_shown=RESULTS_SHOWN)
        self.turns.append(Turn(reply=command, action=command, observation=shown, valid=outcome.valid))
        if outcome.reward is not None:
            raise _EndOfEpisodeError

    def _cards(self) -> list[_Card]:
        """The products shown, in their order."""
        shown = self.session.page.products[:RESULTS_SHOWN]
        cards = (self.session.catalogue.card(product) for product in shown)
        return [_Card(asin=asin, price=_price(tag)) for asin, _, tag in cards]

    def _missing(self) -> list[str]:
        """What the goal names and the open page does not offer."""
        offered = {value for values in self.session.shown.options.values() for value in values}
        return [option for option in self.wanted if option not in offered]


def _price(tag: str) -> float:
    found = re.search(r"\d[\d,]*(?:\.\d+)?", tag)
    return float(found[0].replace(",", "")) if found else 100.0
