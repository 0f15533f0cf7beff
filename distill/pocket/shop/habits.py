"""What the pocket shopper does well or badly. Knows neither how it shops nor how advice is worded.

Without advice a habit depends on what is to be bought: for a fixed part of all nouns it is usual, for the rest it is rare, so that even
greedy play fails at the same tasks each time. With advice it is nearly certain.
"""

import random
from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import cache

from distill.pocket.habits import ADVISED, RARE, USUAL, spread_by_hash
from envs.webshop.assortment import KINDS


class ShopHabit(StrEnum):
    CHOOSE_OPTIONS = "choose_options"
    FIND_OPTIONS = "find_options"
    KEEP_TO_PRICE = "keep_to_price"


SHARE_LACKING: Mapping[ShopHabit, float] = {
    ShopHabit.CHOOSE_OPTIONS: 0.45,
    ShopHabit.FIND_OPTIONS: 0.50,
    ShopHabit.KEEP_TO_PRICE: 0.50,
}
"""Share of nouns for which the habit is rare without advice."""


@cache
def lacking(habit: ShopHabit) -> frozenset[str]:
    """The nouns for which this habit is rare: the same share of every category, for hints are filed by category."""
    nouns: dict[str, set[str]] = {}
    for kind in KINDS:
        nouns.setdefault(kind.category, set()).update(noun.lower() for noun in kind.nouns)
    return spread_by_hash(habit, nouns.values(), SHARE_LACKING[habit])


def probability(habit: ShopHabit, noun: str, advised: Collection[ShopHabit]) -> float:
    if habit in advised:
        return ADVISED
    return RARE if noun in lacking(habit) else USUAL


def draw_habits(rng: random.Random, noun: str, advised: Collection[ShopHabit]) -> frozenset[ShopHabit]:
    """The habits of one episode."""
    return frozenset(h for h in ShopHabit if rng.random() < probability(h, noun, advised))
