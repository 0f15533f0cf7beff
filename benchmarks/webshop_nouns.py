# ruff: noqa: E402 - the path is set before the project is imported
"""How often the rule for nouns differs from spaCy on the 1,000 real titles, and what that does to the reward's `r_type`.

    python benchmarks/webshop_nouns.py --json

Held out: the list of words that are no nouns is learned from one half of the titles and tried on the other, both ways.
"""

import argparse
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# In the place of this folder.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from envs.webshop.goals import Goal
from envs.webshop.nouns import RecordedTagger, rule_nouns, shipped_never_nouns
from envs.webshop.products import Product, find_sources, read_listings
from envs.webshop.reward import Purchase, type_parts

DATA = Path(os.environ.get("OFFBOOK_TEST_DATA", Path(sys.path[0]).parent / "shared" / "data")) / "webshop"
_WORD = re.compile(r"[^\W\d_]+")
_FEWEST = 2


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=20_000, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    args = parser.parse_args(argv)
    products = [each.product for each in read_listings(find_sources(DATA))]
    spacy = {
        p.asin: n for p, n in zip(products, RecordedTagger().nouns(p.title for p in products), strict=True)
    }
    rng = random.Random(0)
    rng.shuffle(products)
    halves = products[:500], products[500:]
    ours = {
        product.asin: rule_nouns(product.title, learned(seen, spacy))
        for seen, held_out in (halves, halves[::-1])
        for product in held_out
    }
    figures = agreement(ours, spacy) | {"r_type_differs": differs(products, ours, spacy, args.pairs, rng)}
    print(json.dumps(figures, indent=1) if args.json else "\n".join(f"{k}: {v}" for k, v in figures.items()))
    return 0


def learned(products: Sequence[Product], spacy: dict[str, list[str]]) -> frozenset[str]:
    """Words that are mostly no nouns in these titles, and the shipped function words among them."""
    said: Counter[str] = Counter()
    nouns: Counter[str] = Counter()
    for product in products:
        said.update(_WORD.findall(product.title.lower()))
        nouns.update(spacy[product.asin])
    return frozenset(w for w in said if said[w] >= _FEWEST and nouns[w] / said[w] < 0.5) | FUNCTION_WORDS


FUNCTION_WORDS = frozenset(word for word in shipped_never_nouns() if len(word) <= 4)
"""Short ones: prepositions, pronouns and their like, which need no learning."""


def agreement(ours: dict[str, list[str]], spacy: dict[str, list[str]]) -> dict[str, float]:
    common = sum(sum((Counter(ours[asin]) & Counter(spacy[asin])).values()) for asin in ours)
    return {
        "precision": round(common / sum(map(len, ours.values())), 4),
        "recall": round(common / sum(map(len, spacy.values())), 4),
    }


def differs(
    products: Sequence[Product],
    ours: dict[str, list[str]],
    spacy: dict[str, list[str]],
    pairs: int,
    rng: random.Random,
) -> float:
    """Share of random (wanted, bought) pairs of one category whose `r_type` is another under the rule."""
    by_category: dict[str, list[Product]] = {}
    for product in products:
        by_category.setdefault(product.category, []).append(product)
    different = 0
    for _ in range(pairs):
        wanted = rng.choice(products)
        bought = rng.choice(by_category[wanted.category])
        different += _r_type(wanted, bought, ours) != _r_type(wanted, bought, spacy)
    return round(different / pairs, 4)


def _r_type(wanted: Product, bought: Product, nouns: dict[str, list[str]]) -> float:
    goal = Goal(
        asin=wanted.asin, text="", attributes=("x",), options=(), price_upper=0, price=0, weight=1, category="",
        query=wanted.query, title=wanted.title, product_category=wanted.product_category,
    )  # fmt: skip
    purchase = Purchase(product=bought, nouns=nouns[bought.asin], price=0, options={})
    return type_parts(purchase, goal, nouns[wanted.asin], "original")["r_type"]


if __name__ == "__main__":
    raise SystemExit(main())
