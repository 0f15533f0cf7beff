"""WebShop's pages and clicks on a small shop of two handwritten products and a made-up crowd."""

import dataclasses
import random

import pytest

from envs.base import EnvError
from envs.config import WebshopConfig
from envs.registry import list_tasks, make_panel, open_env
from envs.webshop.build import BuildOptions, build
from envs.webshop.catalogue import open_catalogue
from envs.webshop.pages import render
from envs.webshop.products import Listing, Product, Wish
from envs.webshop.session import Session

TABLE = Product(
    asin="B000000001",
    title="Oak # Table / “Runde” Straße",
    description="\n \n",
    bullets=("solid wood", "", "easy clean "),
    price_tag="$20.0 to $90.0",
    prices=(20.0, 90.0),
    options={
        "color": ("rectangular brown", "blue", "é"),
        "size": ('12" x 12"', "large"),
        "leg color": ("blue",),
    },
    category="garden",
    query="coffee tables",
    product_category="Home › Furniture › Tables",
    attributes=("solid wood",),
)
LAMP = dataclasses.replace(
    TABLE,
    asin="B000000002",
    title="Desk Lamp",
    description="A lamp.",
    options={"kind": ("reviews", "buy now", "attributes", "next >", "< prev", "search")},
    prices=(5.0,),
    price_tag="$5.0",
    query="lamps",
    category="electronics",
    product_category="Lights › Lamps",
)
LISTINGS = (
    Listing(
        product=TABLE,
        template=Wish(text="Find me tables", attributes=("solid wood",)),
        human=(Wish(text="a solid wood table in blue.", attributes=("solid wood",), options=("blue",)),),
    ),
    Listing(product=LAMP, template=None, human=(Wish(text="no attributes", attributes=()),)),
)


@pytest.fixture(scope="module")
def shop_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("webshop") / "shop"
    crowd = tuple(
        Listing(
            product=dataclasses.replace(LAMP, asin=f"C{n:09}", title=f"Chair number {n}", options={}),
            template=None,
            human=(),
        )
        for n in range(23)
    )
    build((*LISTINGS, *crowd), folder, BuildOptions(seed=7, nouns="rule"), origin={})
    return folder


@pytest.fixture
def visit(shop_dir):
    shop = open_catalogue(shop_dir)

    def start(protocol="original", goal=None, kind="human"):
        return Session(
            catalogue=shop,
            goal=goal or shop.goals(kind)[0],
            name="0",
            protocol=protocol,
            rng=random.Random(0),
        )

    return start


def _go(session, *actions):
    return [session.act(action) for action in actions][-1]


def test_first_page(visit):
    session = visit()
    text = session.goal.text
    assert text.startswith("a solid wood table in blue, and price lower than ")
    assert render(session, "text") == f"WebShop [SEP] Instruction: [SEP] {text} [SEP] Search"
    assert render(session, "text_rich") == f"WebShop\nInstruction: \n{text}\n[button] Search [button_]\n"
    assert render(session, "compact") == f"WebShop\nInstruction:\n{text}\n[Search]"
    assert list(session.clickables) == ["search"]


@pytest.mark.parametrize(
    "action, valid",
    [
        ("search[oak]", True), ("search[ ]", True), ("search[a]b", True), ("search[]", False), ("Search[oak]", False),
        ("SEARCH[oak]", False), ("search[oak", False), ("search[a[b]c]", False), ("search[a\nb]", False), ("", False),
        ("click[search]", False), ("click[buy now]", False), ("search[<a> solid wood]", False), ("search[<c>]", False),
        ("search[#/'\"\u00e9\x00]", True), ("[[]]", False), ("search[" + "x" * 100_000 + "]", True),
    ],
)  # fmt: skip
def test_grammar_of_actions(visit, action, valid):
    session = visit()
    before = session.page
    assert session.act(action).valid is valid
    assert (session.page is before) is not valid


def test_results_are_paged_without_end(visit):
    session = visit()
    _go(session, "search[chair number]")
    assert session.page.total == 23 and len(session.page.products) == 10
    assert list(session.clickables)[:2] == ["back to search", "next >"]
    _go(session, "click[Next >]", "click[next >]", "click[next >]")
    assert render(session, "text").endswith("Page 4 (Total results: 23) [SEP] < Prev [SEP] Next >")
    _go(session, "click[< prev]", "click[< prev]", "click[< prev]")
    assert session.page.number == 1 and not session.act("click[< prev]").valid
    assert "#" in _rich_after(session, "search[oak # table]")


def _rich_after(session, action):
    _go(session, action)
    return render(session, "text_rich")


def test_fixed_ends_where_the_results_do(visit):
    session = visit("fixed")
    _go(session, "search[chair number]", "click[next >]", "click[next >]")
    assert session.page.number == 3 and "next >" not in session.clickables
    assert "Next >" not in render(session, "text")


def test_prefixes(visit):
    session = visit()
    _go(session, "search[<c> garden]")
    assert [session.catalogue.card(p)[0] for p in session.page.products] == ["B000000001"]
    _go(session, "search[<q> lamps]")
    assert session.page.total == 24 and session.catalogue.card(session.page.products[0])[0] == "B000000002"
    _go(session, "search[<r>]")
    assert session.page.total == 25
    _go(session, "search[<c> no such thing]")
    assert session.page.total == 0


def test_item_page_as_text_and_marks_of_what_was_clicked(visit):
    session = visit()
    _go(session, "search[oak]", "click[B000000001]")
    text = render(session, "text")
    assert text.endswith(
        'color [SEP] rectangular brown [SEP] blue [SEP] é [SEP] size [SEP] 12" x 12" [SEP] large [SEP] leg color [SEP] blue [SEP] '
        "Oak # Table / “Runde” Straße [SEP] Price: $20.0 to $90.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] "
        "Reviews [SEP] Buy Now"
    )
    assert session.page.url.endswith("/item_page/0/B000000001/oak/1/{}")
    _go(session, "click[large]", "click[é]")
    rich = render(session, "text_rich")
    assert rich.startswith("You have clicked large.\nInstruction:\n")
    assert "  [clicked button] large [clicked button_]\n" in rich
    # The address escapes it, so that the original does not see that it was clicked.
    assert "  [button] é [button_]\n" in rich and '"color": "\\u00e9"' in session.page.url
    _go(session, "click[< prev]")
    assert "\n[clicked button] B000000001 [clicked button_]\n" in render(session, "text_rich")
    _go(session, "click[b000000001]")
    assert session.options == {}


def test_a_value_under_two_names_belongs_to_the_later_but_not_in_fixed(visit):
    session = visit()
    _go(session, "search[oak]", "click[b000000001]", "click[blue]")
    assert session.options == {"leg color": "blue"}
    session = visit("fixed")
    _go(session, "search[oak]", "click[b000000001]", "click[blue]", "click[leg color: blue]")
    assert session.options == {"color": "blue", "leg color": "blue"}


def test_a_value_called_like_a_button_does_what_the_button_does_but_not_in_fixed(visit):
    session = visit()
    _go(session, "search[desk lamp]", "click[b000000002]", "click[reviews]")
    assert session.page.kind == "sub"
    _go(session, "click[< prev]", "click[attributes]")
    assert render(session, "text").endswith("solid wood [SEP] electronics [SEP] lamps [SEP] Lights › Lamps")
    # It clicks nothing called "search".
    assert not _go(session, "click[< prev]", "click[search]").valid
    assert _go(session, "click[next >]").chosen == "next >"
    session = visit("fixed")
    _go(session, "search[desk lamp]", "click[b000000002]", "click[kind: reviews]")
    assert session.options == {"kind": "reviews"} and session.page.kind == "item"
    assert session.act("click[search]").chosen == "search"


def test_a_search_for_a_pages_name_confuses_the_original_only(visit):
    for protocol, kind in (("original", "results"), ("fixed", "item")):
        session = visit(protocol)
        _go(
            session,
            "search[search_results oak table]",
            "click[b000000001]",
            "click[features]",
            "click[< prev]",
        )
        assert session.page.kind == kind, protocol


def test_sub_pages(visit):
    session = visit()
    _go(session, "search[oak]", "click[b000000001]", "click[large]", "click[Features]")
    assert render(session, "text").endswith("< Prev [SEP] solid wood [SEP]  [SEP] easy clean")
    assert session.page.url.endswith("/Features/{'size': 'large'}")
    _go(session, "click[< prev]", "click[description]")
    assert render(session, "text").endswith("[SEP] < Prev")  # blanks with a line's end are nothing
    _go(session, "click[< prev]")
    assert session.page.kind == "item" and session.options == {"size": "large"}


def test_buying_scores_and_only_fixed_ends_there(visit):
    for protocol in ("original", "fixed"):
        session = visit(protocol)
        outcome = _go(session, "search[oak]", "click[b000000001]", "click[blue]", "click[buy now]")
        assert outcome.reward and outcome.reward.total == pytest.approx(1.0) and not session.clickables
        assert not session.act("click[buy now]").valid
        assert ("Your score" in render(session, "text")) is (protocol == "original")
        assert session.act("search[oak]").valid is (protocol == "original")


def test_the_original_takes_a_search_on_any_page(visit):
    for protocol, valid in (("original", True), ("fixed", False)):
        session = visit(protocol)
        _go(session, "search[oak]", "click[b000000001]")
        assert session.act("search[lamp]").valid is valid


def test_compact_view_is_short(shop_dir):
    config = WebshopConfig(catalogue=str(shop_dir), results_shown=2)
    env = open_env(config)
    env.reset(list_tasks(config)[0], seed=0)
    results = env.step("search[chair number]")
    assert results.observation.splitlines()[:3] == [
        "[Back to Search]",
        "Page 1 (Total results: 23)",
        "[Next >]",
    ]
    assert results.observation.count("Chair number") == 2
    assert sum(action.startswith("click[c0") for action in results.admissible) == 2
    assert env.step("nonsense").observation == "Invalid action!"
    env.step("search[oak]")
    item = env.step("click[b000000001]").observation
    assert 'size [12" x 12"][large]' in item and "[Buy Now]" in item
    assert env.step("click[large]").observation == "You have clicked large.\nChosen: size: large"
    done = env.step("click[buy now]")
    assert done.done and done.parts["r_type"] == 1 and done.parts["r_option"] == 0
    assert done.score == pytest.approx(2 / 3)


def test_fuzzed_actions_never_raise_nor_touch_another_env(shop_dir):
    config = WebshopConfig(catalogue=str(shop_dir), view="text_rich")
    tasks = list_tasks(config)
    still, busy = open_env(config), open_env(config)
    still.reset(tasks[0], seed=0)
    before = still.step("search[oak]")
    busy.reset(tasks[0], seed=0)
    rng = random.Random(0)
    for _ in range(1500):
        known = list(busy._session.clickables) or ["x"]
        text = "".join(
            chr(rng.choice((rng.randrange(128), rng.randrange(0x3000), rng.randrange(0x110000))))
            for _ in range(8)
        )
        choice = rng.random()
        action = (
            f"click[{rng.choice(known)}]"
            if choice < 0.5
            else f"search[{text}]"
            if choice < 0.8
            else text + "[[" + text
        )
        result = busy.step(action)
        assert result.observation and 0 <= result.score <= 1
    assert dataclasses.replace(still.step("nonsense"), valid=True) == before


def test_tasks_have_content_hashes_and_panels_know_the_catalogue(shop_dir, tmp_path):
    config = WebshopConfig(catalogue=str(shop_dir), goals="synthetic")
    tasks = list_tasks(config)
    assert (
        len(tasks) == 6
        and {task.split for task in tasks} == {"test"}
        and {task.kind for task in tasks} == {"garden"}
    )
    again = tmp_path / "again"
    build(LISTINGS, again, BuildOptions(seed=8, nouns="rule"), origin={})
    other = WebshopConfig(catalogue=str(again), goals="synthetic")
    # Another seed draws other caps: other goals.
    assert not {task.id for task in tasks} & {task.id for task in list_tasks(other)}
    with pytest.raises(EnvError, match="6 of 6 synthetic goals"):
        make_panel("p", other, tasks)
    fixed = config.model_copy(update={"protocol": "fixed"})
    assert make_panel("p", config, tasks).sha256 != make_panel("p", fixed, tasks).sha256


def test_random_products_come_again_under_the_same_seed(shop_dir):
    config = WebshopConfig(catalogue=str(shop_dir))
    task = list_tasks(config)[0]
    shown = []
    for seed in (1, 1, 2):
        env = open_env(config)
        env.reset(task, seed=seed)
        shown.append(env.step("search[<r>]").observation)
    assert shown[0] == shown[1] != shown[2]
