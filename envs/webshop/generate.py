"""A shop of our own, made from `assortment`: small for play and training, or as large as the real one for measuring.

The same arguments give the same shop, product by product; nothing of it is held while it is written.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from envs.base import EnvError
from envs.webshop.assortment import (
    BRAND_ENDS,
    BRAND_STARTS,
    KINDS,
    PRAISE,
    PURPOSES,
    REMARKS,
    WISHES,
    Kind,
)
from envs.webshop.build import BuildOptions, build
from envs.webshop.products import Listing, Product, Wish, read_price

TEST_SHARE, DEV_SHARE = 4, 8
"""One goal in so many."""
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STEP = 1_000_003
_FEW_PRODUCTS = 20_000
"""A larger shop gets long descriptions in a large made-up vocabulary, as heavy for a search engine as the real one's."""
_VOCABULARY = 200_000
_FILLER_WORDS = (30, 130)


def generate(out: Path, *, products: int, goals: int, seed: int, nouns: str = "auto") -> dict[str, Any]:
    """Write a catalogue of `products` with `goals` human-sounding goals; returns its manifest."""
    sizes = (max(1, goals // TEST_SHARE), goals // DEV_SHARE)
    return _build(out, products=products, goals=goals, seed=seed, nouns=nouns, split_sizes=sizes)


def generate_splits(
    out: Path, *, seed: int = 0, products: int = 1000, train: int = 480, test: int = 240
) -> dict[str, Any]:
    """`generate` with so many goals of each split and none to develop on."""
    if min(train, test) < 1:
        raise EnvError(f"cannot generate {train} train and {test} test goals; ask for at least one of each")
    # The rule, so that the same settings make the same shop wherever they run.
    return _build(out, products=products, goals=train + test, seed=seed, nouns="rule", split_sizes=(test, 0))


def _build(
    out: Path, *, products: int, goals: int, seed: int, nouns: str, split_sizes: tuple[int, int]
) -> dict[str, Any]:
    if products < 1 or goals < 1:
        raise EnvError(f"cannot generate {products} products and {goals} goals; ask for at least one of each")
    options = BuildOptions(seed=seed, nouns=nouns, split_sizes=split_sizes, most_synthetic=4 * goals)
    origin = {"generated": {"products": products, "goals": goals, "seed": seed}}
    return build(make_listings(products=products, goals=goals, seed=seed), out, options, origin=origin)


def make_listings(*, products: int, goals: int, seed: int) -> Iterator[Listing]:
    """Products in turn over the kinds; wishes spread evenly over them."""
    rng = random.Random(f"shop-{seed}")
    filler = _Filler(rng) if products > _FEW_PRODUCTS else None
    for number in range(products):
        kind = KINDS[rng.randrange(len(KINDS))]
        noun = rng.choice(kind.nouns)
        product = _product(rng, number, kind, noun, filler)
        wanted = (number + 1) * goals // products - number * goals // products
        wishes = tuple(_wish(rng, product, noun) for _ in range(wanted))
        template = None
        if wishes:
            attributes = tuple(rng.sample(product.attributes, min(2, len(product.attributes))))
            template = Wish(text=f"Find me {kind.query} with {', '.join(attributes)}", attributes=attributes)
        yield Listing(product=product, template=template, human=wishes)


def _product(rng: random.Random, number: int, kind: Kind, noun: str, filler: "_Filler | None") -> Product:
    attributes = tuple(rng.sample(kind.attributes, min(len(kind.attributes), rng.randint(2, 5))))
    brand = rng.choice(BRAND_STARTS) + rng.choice(BRAND_ENDS)
    first, second = (attribute.title() for attribute in attributes[:2])
    title = f"{brand} {rng.choice(PRAISE)} {noun}, {first} and {second}, for {rng.choice(PURPOSES)}"
    prices, tag = read_price(_price(rng, kind))
    remarks = rng.sample(REMARKS, 3)
    description = " ".join((f"{brand} presents this {noun.lower()}.", *remarks))
    if filler:
        description += " " + filler.text()
    return Product(
        asin=_asin(number),
        title=title,
        description=description,
        bullets=(f"{first}, {second}", *(attribute.capitalize() for attribute in attributes[2:]), remarks[0]),
        price_tag=tag,
        prices=prices,
        options={
            name: tuple(rng.sample(values, min(len(values), rng.randint(2, 8))))
            for name, values in kind.options.items()
            if rng.random() < 0.9
        },
        category=kind.category,
        query=kind.query,
        product_category=kind.path,
        attributes=attributes,
    )


def _price(rng: random.Random, kind: Kind) -> str:
    low = rng.uniform(*kind.prices)
    if rng.random() < 0.08:
        return ""
    return f"${low:.2f}" if rng.random() < 0.85 else f"${low:.2f} - ${low * rng.uniform(1.1, 2):.2f}"


def _wish(rng: random.Random, product: Product, noun: str) -> Wish:
    """What a person might write of this product; every option named is one of its values."""
    attributes = tuple(rng.sample(product.attributes, rng.randint(1, min(3, len(product.attributes)))))
    chosen = {name: rng.choice(values) for name, values in product.options.items()}
    said = [value if name == "color" else f"{name} {value}" for name, value in chosen.items()]
    text = rng.choice(WISHES).format(
        noun=_with_article(noun.lower()),
        attributes=_listed(attributes),
        options=f", in {_listed(said)}" if said else "",
    )
    return Wish(text=text, attributes=attributes, options=tuple(chosen.values()))


def _with_article(noun: str) -> str:
    if noun.endswith("s"):
        return noun
    return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


def _asin(number: int) -> str:
    """Ten letters and digits that do not ascend with `number`, different for each."""
    number = (number * _STEP + 12_345) % len(_DIGITS) ** 8
    letters = ""
    for _ in range(8):
        number, digit = divmod(number, len(_DIGITS))
        letters = _DIGITS[digit] + letters
    return f"G0{letters}"


class _Filler:
    """Words whose frequencies fall as those of a language do."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        starts = [a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "ar", "el", "in")]
        pool = ("".join(parts) for parts in itertools.product(starts, repeat=3))
        step = len(starts) ** 3 // _VOCABULARY
        self._words = list(itertools.islice(pool, 0, _VOCABULARY * step, step))
        rng.shuffle(self._words)
        self._weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self._words))))

    def text(self) -> str:
        number = self._rng.randint(*_FILLER_WORDS)
        return " ".join(self._rng.choices(self._words, cum_weights=self._weights, k=number))
