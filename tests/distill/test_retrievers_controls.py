"""Controls that need something from outside: filler is as long as the hints and advises nothing, the oracle knows its own task alone."""

import random
import re

import pytest

from actors.config import EngineConfig, ScriptedModelConfig
from distill.hints.bank import build_bank
from distill.hints.config import RetrieverConfig
from distill.hints.hint import Hint
from distill.hints.retrievers import Aids, make_retriever, uses_oracle
from distill.hints.retrievers.filler import count_words, filler_text
from distill.hints.rules.alfworld import PHRASINGS
from distill.retrieval_run import _token_counter
from envs.base import EnvError
from envs.config import AlfworldConfig, HouseholdsConfig, ScriptedConfig, ShopConfig, WebshopConfig
from envs.registry import generate, gold_plan, list_tasks, open_env
from envs.task import Task

HEAT = "pick_heat_then_place_in_recep"
BANK = build_bank(
    Hint(text=text, kind=HEAT, env="alfworld", sources=(), writer="w")
    for texts in PHRASINGS.values()
    for text in texts
)
COMMANDS = "go take move put open close heat cool clean use examine look inventory search click buy toggle slice".split()


def task(number: int) -> Task:
    return Task(env="alfworld", split="train", id=f"g{number}", kind=HEAT, goal="put a hot apple in fridge.")


@pytest.fixture(scope="module")
def pocket_tokens():
    return _token_counter(EngineConfig(model="pocket"))


@pytest.fixture(scope="module", params=["words", "tokens"])
def count_tokens(request):
    return count_words if request.param == "words" else request.getfixturevalue("pocket_tokens")


def test_filler_is_as_long_as_what_bm25_gives(count_tokens):
    best = make_retriever(RetrieverConfig(), BANK)
    filler = make_retriever(RetrieverConfig(name="filler"), BANK, Aids(count_tokens=count_tokens))
    for number in range(40):
        hints, placebo = best(task(number), "a fridge 1"), filler(task(number), "a fridge 1")
        lengths = [[count_tokens(one.text) for one in block] for block in (hints, placebo)]
        assert abs(sum(lengths[0]) - sum(lengths[1])) <= 1
        assert max(abs(a - b) for a, b in zip(*lengths, strict=True)) <= 2
        assert [one.id for one in placebo] == [f"{one.id}-filler" for one in hints]


def test_filler_differs_by_task_and_seed_and_is_the_same_again():
    def given(number, seed=0):
        return make_retriever(RetrieverConfig(name="filler", seed=seed), BANK)(task(number), "")

    assert given(1) == given(1)
    assert given(1) != given(2) and given(1) != given(1, seed=1)


def test_filler_says_nothing_of_either_world():
    said = " ".join(filler_text(random.Random(n), n % 30 + 3, count_words) for n in range(600)).lower()
    words = set(re.findall(r"[a-z]+", said))
    assert len(words) > 60
    assert not words & {
        *COMMANDS,
        "must",
        "should",
        "always",
        "never",
        "not",
        "price",
        "option",
        "before",
        "first",
    }


def test_filler_texts_are_whole_sentences_of_any_length(count_tokens):
    for number in range(1, 60):
        text = filler_text(random.Random(number), number, count_tokens)
        assert text.endswith(".") and text[0].isupper()
        assert abs(count_tokens(text) - number) <= (5 if number < 10 else 1)


def test_a_model_without_a_tokenizer_at_hand_is_counted_in_words():
    assert _token_counter(ScriptedModelConfig())("two words") == 2


WORLDS = [
    (HouseholdsConfig(train=8, test=4), AlfworldConfig()),
    (ShopConfig(products=120, train=12, test=6), WebshopConfig()),
]


@pytest.fixture(scope="module", params=[0, 1], ids=["households", "shop"])
def world(request, tmp_path_factory):
    settings, env = WORLDS[request.param]
    return generate(settings, env, tmp_path_factory.mktemp("made") / "data")


def test_a_gold_plan_wins_its_task(world):
    env = open_env(world)
    for one in list_tasks(world):
        env.reset(one, seed=0)
        results = [env.step(action) for action in gold_plan(world, one)]
        assert results[-1].success and all(result.valid for result in results)


def test_the_scripted_worlds_gold_plan_wins_too():
    config = ScriptedConfig()
    env = open_env(config)
    for one in list_tasks(config):
        env.reset(one, seed=0)
        assert [env.step(action) for action in gold_plan(config, one)][-1].success


def test_a_task_that_is_not_there_has_no_gold_plan(world):
    with pytest.raises(EnvError):
        gold_plan(world, Task(env="x", split="test", id="test/nowhere/x", kind="k", goal="g"))


def test_the_oracle_gives_its_own_task_alone_and_shows_what_it_is(world):
    tasks = list_tasks(world)
    plans = {one: "; ".join(gold_plan(world, one)) for one in tasks}
    retrieve = make_retriever(
        RetrieverConfig(name="oracle"), build_bank([]), Aids(gold_plan=plans.__getitem__)
    )
    given = {one: retrieve(one, "") for one in tasks}
    assert all([hint.text for hint in hints] == [plans[one]] for one, hints in given.items())
    assert all(
        uses_oracle(hint) and hint.id.startswith("oracle-") for hints in given.values() for hint in hints
    )
    assert len({hint.id for hints in given.values() for hint in hints}) == len(tasks)


def test_no_other_retriever_looks_at_a_gold_plan():
    def must_not_look(_):
        raise AssertionError("looked at the gold plan")

    for name in (
        "bm25",
        "tfidf",
        "lsa",
        "frequent",
        "none",
        "guard",
        "random",
        "other_kind",
        "shuffled",
        "filler",
    ):
        given = make_retriever(RetrieverConfig(name=name), BANK, Aids(gold_plan=must_not_look))(task(0), "")
        assert not any(uses_oracle(hint) for hint in given)
    with pytest.raises(ValueError, match="gold plans"):
        make_retriever(RetrieverConfig(name="oracle"), BANK)
