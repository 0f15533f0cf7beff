"""Bad habits of shoppers, told from real pages of a small handwritten shop."""

import dataclasses

import pytest

from actors.agents import make_agent
from actors.chat import Completion, Sampling
from actors.config import AgentConfig, BudgetConfig
from actors.episode import EpisodeSpec, run_episode
from distill.hints.diagnostician import diagnose as hints_of
from distill.hints.rules.webshop import diagnose
from distill.hints.rules.webshop_trace import is_named, read_trace
from envs.config import ShopConfig, WebshopConfig
from envs.registry import generate, list_tasks, open_env
from envs.webshop.build import BuildOptions, build
from envs.webshop.products import Listing, Product, Wish

FITTING = Product(
    asin="C000000002",
    title="Cotton T-Shirt, Machine Wash and Slim Fit",
    description="A shirt.",
    bullets=("soft",),
    price_tag="$15.0",
    prices=(15.0,),
    options={"color": ("navy", "red"), "size": ("large", "x-large")},
    category="fashion",
    query="men's t-shirts",
    product_category="Clothing › Men › T-Shirts",
    attributes=("machine wash", "slim fit"),
)
PLAIN = dataclasses.replace(
    FITTING, asin="C000000001", title="Cotton T-Shirt, Machine Wash", attributes=("machine wash",)
)
DEAR = dataclasses.replace(FITTING, asin="C000000003", price_tag="$900.0", prices=(900.0,))
SMALL = dataclasses.replace(FITTING, asin="C000000004", options={"color": ("navy",), "size": ("large",)})
WISH = Wish(
    text="i need a cotton t-shirt that is machine wash and slim fit, in navy and size x-large",
    attributes=FITTING.attributes,
    options=("navy", "x-large"),
)
SEARCH = "search[cotton t-shirt slim fit]"
OPEN = "click[c000000002]"
GOOD = (SEARCH, OPEN, "click[navy]", "click[x-large]", "click[Buy Now]")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules") / "shop"
    listings = [
        Listing(product=product, template=None, human=(WISH,) if product is FITTING else ())
        for product in (PLAIN, FITTING, DEAR, SMALL)
    ]
    build(iter(listings), folder, BuildOptions(nouns="rule", split_sizes=(0, 0)), origin={})
    return str(folder)


@pytest.fixture(params=["compact", "text_rich"])
def shop(request, catalogue):
    """A shopper's way to play lines of replies."""
    config = WebshopConfig(catalogue=catalogue, view=request.param, results_shown=0)
    (task,) = list_tasks(config)
    agent = make_agent(AgentConfig(prompt="full"), "webshop")

    async def play(*lines):
        said = iter(lines)

        async def reply(messages, sampling, *, session):
            return Completion(
                text=next(said), prompt_tokens=1, cached_tokens=0, completion_tokens=1, finish_reason="stop"
            )

        spec = EpisodeSpec(task=task, role="base", arm="base", seed=0)
        budget = BudgetConfig(max_steps=len(lines), max_turns=len(lines))
        return await run_episode(open_env(config), agent, reply, spec, budget, Sampling(), "m")

    return play


async def test_a_clean_purchase_is_accused_of_nothing_and_its_reward_is_kept_in_parts(shop):
    bought = await shop("think: short words find more.", *GOOD)
    assert bought.success and diagnose(bought) == []
    parts = dict(bought.parts)
    assert parts["r_option"] == parts["r_att"] == parts["r_price"] == 1.0
    assert all(isinstance(value, float) for value in parts.values())


@pytest.mark.parametrize(
    ("lines", "habits"),
    [
        ((SEARCH, OPEN, "click[Buy Now]"), ["choose_options"]),
        ((SEARCH, OPEN, "click[red]", "click[x-large]", "click[Buy Now]"), ["choose_options"]),
        ((SEARCH, "click[c000000003]", *GOOD[2:]), ["keep_to_price"]),
        ((SEARCH, "click[c000000001]", *GOOD[2:]), ["read_titles"]),
        ((SEARCH, "click[c000000004]", "click[navy]", "click[Buy Now]"), ["find_options"]),
        ((f"search[{WISH.text}]", *GOOD[1:3], "click[Buy Now]"), ["choose_options", "short_query"]),
        ((SEARCH, OPEN, "click[Features]", "click[< Prev]"), ["decide"]),
        ((SEARCH, "click[nowhere]", "search[", "dance"), ["use_buttons"]),
    ],
)
async def test_each_habit_is_told_from_the_pages(shop, lines, habits):
    failed = await shop(*lines)
    assert not failed.success
    assert diagnose(failed) == habits
    hints = hints_of(failed)
    assert [hint.kind for hint in hints] == ["fashion"] * len(habits)


async def test_the_reward_plays_no_part(shop):
    failed = await shop(SEARCH, OPEN, "click[Buy Now]")
    blind = dataclasses.replace(failed, score=0.0, parts=(), success=True)
    assert diagnose(blind) == diagnose(failed)


async def test_the_trace_knows_pages_choices_and_prices(shop):
    trace = read_trace((await shop(*GOOD)).task.goal, (await shop(*GOOD)).turns)
    assert trace.bought is not None and trace.bought is trace.visits[0]
    assert (trace.bought.asin, trace.bought.price) == ("C000000002", 15.0)
    assert trace.bought.chosen == ["navy", "x-large"]
    assert trace.bought.options == {"color": ("navy", "red"), "size": ("large", "x-large")}
    assert len(trace.bought.listed) == 4
    assert trace.cap is not None and trace.cap > 15
    assert "price" not in trace.wanted


@pytest.mark.parametrize(
    ("value", "text", "named"),
    [
        ("large", "size x-large", False),
        ("x-large", "size x-large.", True),
        ("9", "size 9.5", False),
        ("9.5", "size 9.5, in red", True),
        ('12" x 12"', 'in navy and size 12" x 12"', True),
        ("red", "covered in blue", False),
    ],
)
def test_a_value_is_named_as_a_word_of_its_own(value, text, named):
    assert is_named(value, text) is named


def test_whoever_buys_what_the_goal_was_written_for_in_a_generated_shop_is_accused_of_its_title_at_most(
    tmp_path,
):
    config = generate(
        ShopConfig(products=300, train=60, test=10, seed=3), WebshopConfig(results_shown=0), tmp_path / "shop"
    )
    from envs.webshop.catalogue import open_catalogue

    goals = open_catalogue(config.catalogue).goals("human")
    accused: list[str] = []
    checked = 0
    for task in list_tasks(config, "train"):
        goal = goals[goals.place(task.id)]
        env = open_env(config)
        env.reset(task, seed=0)
        title = goal.title.split(",")[0]
        found = env.step(f"search[{title.lower()}]")
        if f"click[{goal.asin.lower()}]" not in found.admissible:
            continue
        actions = [f"click[{goal.asin.lower()}]", *(f"click[{o}]" for o in goal.options), "click[buy now]"]
        turns = [_turn(f"search[{title.lower()}]", found), *(_turn(a, env.step(a)) for a in actions)]
        assert turns[-1].observation.endswith(": 1")
        checked += 1
        accused += diagnose(_bought(task, turns))
    assert checked > 40
    # Of attributes that only a product's features name, a shopper who reads titles knows nothing.
    assert set(accused) == {"read_titles"} and len(accused) < checked / 3


def _turn(action, result):
    from actors.trajectory import Turn

    return Turn(reply=action, action=action, observation=result.observation, valid=result.valid)


def _bought(task, turns):
    from actors.trajectory import EndReason, Trajectory

    return Trajectory(
        task=task,
        role="base",
        arm="base",
        agent="react",
        model="m",
        adapter=None,
        seed=0,
        hints=(),
        opening="",
        turns=tuple(turns),
        end=EndReason.DONE,
        success=True,
        score=1.0,
    )
