"""What a shopper is sent for: human and synthetic goals with their price caps, in the original's server order. Knows nothing of pages.

All draws come from one seeded generator in the original's order (first the prices of products with two, then the caps goal by goal), so that
`random.seed(SEED)` before starting the original gives the same goals as a catalogue built with that seed.
"""

import functools
import hashlib
import itertools
import json
import operator
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from envs.webshop.products import Product, Wish

NO_CAP = 1_000_000
"""The cap of a goal whose product is too dear to have one; its text names none."""
ORDER_SEED = 233
"""Shuffles the goals, whatever seed drew the prices."""
_CAPS = tuple(10.0 * step for step in range(1, 100))
_NEAREST_CAPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    asin: str
    """The product that the goal was written for."""
    text: str
    """The instruction, price cap included."""
    attributes: tuple[str, ...]
    options: tuple[tuple[str, str], ...] | tuple[str, ...]
    """(name, value) pairs of a synthetic goal, bare values of a human one."""
    price_upper: float
    price: float
    """Of the product when the cap was drawn."""
    weight: float
    category: str
    query: str
    title: str
    product_category: str

    @property
    def sha256(self) -> str:
        """Of everything that the reward or the shopper sees of it."""
        fields = (self.asin, self.text, self.attributes, self.options, self.price_upper, self.price)
        kept = (*fields, self.category, self.query, self.title, self.product_category)
        return hashlib.sha256(
            json.dumps(kept, ensure_ascii=False).encode("utf-8", "surrogatepass")
        ).hexdigest()

    def to_json(self) -> str:
        fields = (
            self.asin,
            self.text,
            self.attributes,
            self.options,
            self.price_upper,
            self.price,
            self.weight,
        )
        kept = (*fields, self.category, self.query, self.title, self.product_category)
        return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Goal":
        asin, wish, attributes, options, upper, price, weight, category, query, title, path = json.loads(text)
        return cls(
            asin=asin,
            text=wish,
            attributes=tuple(attributes),
            options=tuple(tuple(o) if isinstance(o, list) else o for o in options),
            price_upper=upper,
            price=price,
            weight=weight,
            category=category,
            query=query,
            title=title,
            product_category=path,
        )

    @classmethod
    def from_original(cls, goal: Mapping[str, object], price: float) -> "Goal":
        """A goal as the original holds it."""
        options = goal["goal_options"]
        return cls(
            asin=goal["asin"],  # type: ignore[arg-type]
            text=goal["instruction_text"],  # type: ignore[arg-type]
            attributes=tuple(goal["attributes"]),  # type: ignore[arg-type]
            options=tuple(options.items() if isinstance(options, dict) else options),  # type: ignore[arg-type]
            price_upper=goal["price_upper"],  # type: ignore[arg-type]
            price=price,
            weight=goal["weight"],  # type: ignore[arg-type]
            category=goal["category"],  # type: ignore[arg-type]
            query=goal["query"],  # type: ignore[arg-type]
            title=goal["name"],  # type: ignore[arg-type]
            product_category=goal["product_category"],  # type: ignore[arg-type]
        )


def draw_price(prices: Sequence[float], rng: random.Random) -> float:
    """The price of a product in this shop's run."""
    return prices[0] if len(prices) == 1 else rng.uniform(prices[0], prices[1])


def draw_cap(price: float, rng: random.Random) -> tuple[float, str]:
    """A price cap somewhat above `price`, and what the instruction says of it."""
    candidates = [cap for cap in _CAPS if cap > price][:_NEAREST_CAPS]
    if len(candidates) < 2:
        return NO_CAP, ""
    cap = max(rng.sample(candidates, 2))
    return cap, f", and price lower than {cap:.2f} dollars"


def human_goals(
    wanted: Iterable[tuple[Product, float, Sequence[Wish]]], rng: random.Random
) -> Iterator[Goal]:
    """One for each human wish that names attributes."""
    for product, price, wishes in wanted:
        for wish in wishes:
            if wish.attributes:
                cap, text = draw_cap(price, rng)
                yield _goal(product, price, wish, wish.text.strip(".") + text, wish.options, cap)


def synthetic_goals(
    wanted: Iterable[tuple[Product, float, Wish]], rng: random.Random, limit: int | None = None
) -> Iterator[Goal]:
    """One for each choice of options of each product with a template; `weigh` sets their weights."""
    made: Iterator[Goal] = itertools.chain.from_iterable(
        _combinations(product, price, wish, rng) for product, price, wish in wanted
    )
    return made if limit is None else itertools.islice(made, limit)


def _combinations(product: Product, price: float, wish: Wish, rng: random.Random) -> Iterator[Goal]:
    cap, cap_text = draw_cap(price, rng)
    names = sorted(product.options)
    for values in itertools.product(*(product.options[name] for name in names)):
        options = tuple(zip(names, values, strict=True))
        chosen = ", and ".join(f"{name}: {value}" for name, value in options)
        text = wish.text + (f" with {chosen}" if chosen else "") + cap_text
        yield _goal(product, price, wish, text, options, cap)


def _goal(
    product: Product,
    price: float,
    wish: Wish,
    text: str,
    options: tuple[tuple[str, str], ...] | tuple[str, ...],
    cap: float,
) -> Goal:
    return Goal(
        asin=product.asin,
        text=text,
        attributes=wish.attributes,
        options=options,
        price_upper=cap,
        price=price,
        weight=1,
        category=product.category,
        query=product.query,
        title=product.title,
        product_category=product.product_category,
    )


def weigh(goals: Sequence[Goal]) -> list[Goal]:
    """Synthetic goals weigh more the rarer their attributes."""
    counts = Counter(attribute for goal in goals for attribute in goal.attributes)
    return [
        replace(goal, weight=_added(1.0 / counts[a] for a in goal.attributes) / len(goal.attributes))
        for goal in goals
    ]


def _added(numbers: Iterable[float]) -> float:
    """One after the other, as `sum` did before Python 3.12 made it more exact: the last digit is part of a goal's id."""
    return functools.reduce(operator.add, numbers, 0.0)


def in_server_order(number: int) -> list[int]:
    """Which goal, counted as generated, stands at each place of the server's list."""
    order = list(range(number))
    random.Random(ORDER_SEED).shuffle(order)
    return order


def task_ids(goals: Iterable[Goal]) -> list[str]:
    """A content hash for each goal; a goal that comes again hashes how often it came before, too."""
    seen: Counter[str] = Counter()
    ids = []
    for goal in goals:
        digest = goal.sha256
        ids.append(digest[:24] if not seen[digest] else _again(digest, seen[digest]))
        seen[digest] += 1
    return ids


def _again(digest: str, times: int) -> str:
    return hashlib.sha256(f"{digest} {times}".encode()).hexdigest()[:24]
