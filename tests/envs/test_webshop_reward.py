"""WebShop's reward by hand-made cases: each mistake of the original that is kept, beside what `fixed` makes of it."""

import dataclasses

import pytest

from envs.webshop.goals import Goal
from envs.webshop.products import Product
from envs.webshop.reward import Purchase, alike, normalize_color, reward

SHIRT = Product(
    asin="B1",
    title="Navy Cotton Shirt",
    description="Machine washable.",
    bullets=("quick drying",),
    price_tag="$20.0",
    prices=(20.0,),
    options={},
    category="fashion",
    query="shirts",
    product_category="Clothing › Men › Shirts",
    attributes=("classic fit",),
)
NOUNS = ["navy", "cotton", "shirt"]
GOAL = Goal(
    asin="B1",
    text="find a shirt",
    attributes=("classic fit", "machine washable"),
    options=(("color", "red"), ("size", "x-large")),
    price_upper=30.0,
    price=20.0,
    weight=1,
    category="fashion",
    query="shirts",
    title=SHIRT.title,
    product_category=SHIRT.product_category,
)


def _worth(
    options, *, protocol="original", product=SHIRT, nouns=NOUNS, goal=GOAL, goal_nouns=NOUNS, price=20.0
):
    bought = Purchase(product=product, nouns=nouns, price=price, options=options)
    return reward(bought, goal, goal_nouns, protocol)


@pytest.mark.parametrize("protocol", ["original", "fixed"])
def test_all_parts_of_a_perfect_purchase(protocol):
    worth = _worth({"color": "red", "size": "x-large"}, protocol=protocol)
    assert worth.total == 1.0
    assert dict(worth.parts) == {
        "r_type": 1.0, "r_att": 1.0, "w_att": 2 / 5, "query_match": True, "category_match": True, "title_score": 1.0,
        "r_price": True, "w_price": 1 / 5, "r_option": 1.0, "w_option": 2 / 5,
    }  # fmt: skip


def test_each_part_is_lost_alone():
    chosen = {"color": "red", "size": "x-large"}
    assert _worth(chosen, price=31.0).total == pytest.approx(4 / 5)
    assert _worth({"color": "red"}).total == pytest.approx(4 / 5)
    assert _worth({}).parts["r_option"] == 0
    assert (
        _worth(chosen, product=dataclasses.replace(SHIRT, attributes=(), description="")).parts["r_att"] == 0
    )
    bare = _worth({}, goal=dataclasses.replace(GOAL, options=()))
    assert bare.total == 1.0 and "r_option" not in bare.parts


@pytest.mark.parametrize(
    "same_query, nouns, original, fixed",
    [
        (True, ["navy"], 1.0, 1.0),
        (False, ["navy"], 1.0, 1.0),
        (False, [], 0.0, 0.0),
        # A strange title counts even where the query matches.
        (True, [], 0.0, 1.0),
    ],
)
def test_type_by_query_and_title(same_query, nouns, original, fixed):
    product = dataclasses.replace(
        SHIRT, query="shirts" if same_query else "tables", product_category="Home › Tables"
    )
    for protocol, expected in (("original", original), ("fixed", fixed)):
        assert _worth({}, protocol=protocol, product=product, nouns=nouns).parts["r_type"] == expected


def test_titles_that_share_little():
    other = dataclasses.replace(SHIRT, query="tables", product_category="Home › Tables")
    wanted = [f"n{i}" for i in range(20)]
    for shared, r_type in ((1, 0.1), (2, 0.5), (4, 0.5), (5, 1.0)):
        assert _worth({}, product=other, nouns=wanted[:shared], goal_nouns=wanted).parts["r_type"] == r_type
    assert _worth({}, product=other, nouns=wanted, goal_nouns=[]).parts["title_score"] == 0.2


def test_the_goals_nouns_are_counted_with_repeats_by_the_original():
    for protocol, score in (("original", 2 / 4), ("fixed", 1.0)):
        worth = _worth({}, protocol=protocol, nouns=["a", "b"], goal_nouns=["a", "a", "a", "b"])
        assert worth.parts["title_score"] == score


def test_colours_are_found_inside_other_words():
    assert normalize_color("rectangular") == "tan" and normalize_color("rose gold") == "gold"
    assert normalize_color("12 inch") == "12 inch"


@pytest.mark.parametrize("value", ["r.brown137", "rectangular", "black2626"])
def test_the_perfect_choice_of_some_synthetic_goals_is_not_enough_for_the_original(value):
    goal = dataclasses.replace(GOAL, options=(("color", value),))
    assert _worth({"color": value}, goal=goal).parts["r_option"] == 0
    assert _worth({"color": value}, goal=goal, protocol="fixed").parts["r_option"] == 1
    human = dataclasses.replace(GOAL, options=(value,))
    assert _worth({"color": value}, goal=human).parts["r_option"] == 1


def test_a_value_under_another_name_counts_in_the_original_only():
    goal = dataclasses.replace(GOAL, options=(("trim", "large"),))
    assert _worth({"size": "large"}, goal=goal).parts["r_option"] == 1
    assert _worth({"size": "large"}, goal=goal, protocol="fixed").parts["r_option"] == 0


def test_likeness_is_thefuzzs():
    assert alike("color navy multi", "navy multi") and alike("Size: X-Large", "x large")
    assert not alike("black", "blue") and not alike("", "")
    assert alike("caf\u00e9 noir", "caf noir")  # Latin-1 letters are dropped
