"""What a purchase is worth, in parts. `original` keeps the original's arithmetic and its mistakes, `fixed` mends them (docs/webshop.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rapidfuzz import fuzz, utils

from envs.webshop.goals import Goal
from envs.webshop.products import Product

Protocol = Literal["original", "fixed"]

COLORS = tuple(
    """alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel camo caramel
    champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream crystal dark denim eggplant
    elephant espresso fuchsia gold granite grape graphite grass gray green grey heather indigo ivory ivy khaki lavender lemon leopard
    light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor mushroom mustard natural navy nude olive orange peach
    pewter pink plum purple rainbow red rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan
    taupe teal tiger turquoise violet walnut wheat white wine yellow""".split()
)
_ALIKE = 85
_SHARED_CATEGORIES = 2
_NO_NOUNS_SCORE = 0.2
_LATIN_1_HALF = dict.fromkeys(range(128, 256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    product: Product
    nouns: Sequence[str]
    """Of the product's title."""
    price: float
    options: Mapping[str, str]
    """Option name -> chosen value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    total: float
    parts: Mapping[str, float]
    """Under the original's names; `r_option` and `w_option` only where the goal names options, flags as 0 or 1."""


def reward(bought: Purchase, goal: Goal, goal_nouns: Sequence[str], protocol: Protocol) -> Reward:
    kind = type_parts(bought, goal, goal_nouns, protocol)
    num_attributes = _matched_attributes(bought.product, goal.attributes)
    matched = _matched_options if protocol == "original" else _matched_options_fixed
    num_options = matched(goal.options, bought.options)
    r_price = bought.price <= goal.price_upper
    whole = len(goal.attributes) + len(goal.options) + 1
    total = (num_attributes + num_options + r_price) / whole * kind["r_type"]
    parts = {
        "r_type": kind["r_type"],
        "r_att": num_attributes / len(goal.attributes),
        "w_att": len(goal.attributes) / whole,
        "query_match": kind["query_match"],
        "category_match": kind["category_match"],
        "title_score": kind["title_score"],
        "r_price": r_price,
        "w_price": 1 / whole,
    }
    if goal.options:
        parts |= {"r_option": num_options / len(goal.options), "w_option": len(goal.options) / whole}
    return Reward(total=total, parts=parts)


def type_parts(
    bought: Purchase, goal: Goal, goal_nouns: Sequence[str], protocol: Protocol
) -> dict[str, float]:
    """Whether it is the kind of product that was wanted."""
    query_match = bought.product.query == goal.query
    category_match = (
        len(_path(bought.product.product_category) & _path(goal.product_category)) >= _SHARED_CATEGORIES
    )
    wanted = goal_nouns if protocol == "original" else sorted(set(goal_nouns))
    shared = len(set(bought.nouns) & set(goal_nouns))
    title_score = shared / len(wanted) if wanted else _NO_NOUNS_SCORE
    r_type = 1.0 if query_match or category_match or title_score > 0.2 else 0.5
    # The original lowers it for a strange title even where query or category match.
    if protocol == "original" or not (query_match or category_match):
        if title_score < 0.1:
            r_type = 0.1
        if title_score == 0:
            r_type = 0.0
    return {
        "r_type": r_type,
        "query_match": query_match,
        "category_match": category_match,
        "title_score": title_score,
    }


def normalize_color(value: str) -> str:
    """The first of the colours, by the alphabet, whose letters occur in `value`: "rectangular" is "tan"."""
    return next((color for color in COLORS if color in value), value)


@lru_cache(maxsize=1 << 14)
def alike(one: str, other: str) -> bool:
    """thefuzz's `token_set_ratio` over 85, its rounding and its dropping of the Latin-1 letters included."""
    return round(fuzz.token_set_ratio(_plain(one), _plain(other))) > _ALIKE


def _plain(text: str) -> str:
    return utils.default_process(text.translate(_LATIN_1_HALF))


def _path(categories: str) -> set[str]:
    return {part.strip() for part in categories.split("›")}


def _matched_attributes(product: Product, wanted: Sequence[str]) -> int:
    texts: tuple[str, ...] = ()
    count = 0
    for attribute in wanted:
        if any(alike(held, attribute) for held in product.attributes):
            count += 1
            continue
        texts = texts or (
            product.title.lower(),
            " ".join(product.bullets).lower(),
            product.description.lower(),
        )
        count += any(attribute in text for text in texts)
    return count


def _matched_options(wanted: Sequence[tuple[str, str]] | Sequence[str], chosen: Mapping[str, str]) -> int:
    """A synthetic goal's option is compared as the printed (name, value) pair, its colour found only where name or value is one."""
    values = [normalize_color(value) for value in chosen.values()]
    count = 0
    for option in wanted:
        if isinstance(option, str):
            text = normalize_color(option)
        else:
            text = next((color for color in COLORS if color in option), str(option))
        count += any(alike(text, value) for value in values)
    return count


def _matched_options_fixed(
    wanted: Sequence[tuple[str, str]] | Sequence[str], chosen: Mapping[str, str]
) -> int:
    """The very value, or else one alike; a named option only by its own name."""
    count = 0
    for option in wanted:
        if isinstance(option, str):
            values = list(chosen.values())
            value = option.lower()
        else:
            values = [chosen[option[0]]] if option[0] in chosen else []
            value = option[1]
        count += any(value == held or alike(value, held) or _same_color(value, held) for held in values)
    return count


def _same_color(one: str, other: str) -> bool:
    """Both name exactly one colour, as whole words, and the same one."""
    colors = [set(text.split()) & set(COLORS) for text in (one, other)]
    return len(colors[0]) == 1 and colors[0] == colors[1]
