"""The pocket shopper's makings: habits, demonstrator, advice and words, in a made-up shop."""

import json
import random
import re
from pathlib import Path

import pytest

from distill.hints.rules.webshop import PHRASINGS
from distill.pocket.corpus import write_tokenizer
from distill.pocket.episodes import REPLY, MessageEncoder
from distill.pocket.habits import ADVISED, RARE, USUAL
from distill.pocket.shop.advice import draw_advice, phrase, trained_patterns
from distill.pocket.shop.demonstrator import demonstrate, noun_of
from distill.pocket.shop.habits import SHARE_LACKING, ShopHabit, lacking, probability
from distill.pocket.shop.lessons import ShopLessons, unseen
from envs.config import ShopConfig, WebshopConfig
from envs.registry import generate
from envs.webshop.assortment import KINDS
from envs.webshop.catalogue import Catalogue

ALL = frozenset(ShopHabit)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pocket") / "shop"
    generate(ShopConfig(products=300, train=150, test=1, seed=4), WebshopConfig(), folder)
    return Catalogue(folder)


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    made = ShopLessons(tmp_path_factory.mktemp("lessons"), shops=1)
    made.prepare()
    return made


@pytest.fixture(scope="module")
def tokenizer(lessons, tmp_path_factory):
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, lessons)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def successes(shop, habits):
    goals = shop.goals("human")
    return [demonstrate(shop, goals[i], habits, max_steps=15).success for i in range(150)]


def test_each_habit_is_worth_something_and_all_of_them_most(shop):
    whole = sum(successes(shop, ALL))
    assert whole > 0.75 * 150
    for habit in ShopHabit:
        assert sum(successes(shop, ALL - {habit})) < whole, habit
    assert sum(successes(shop, frozenset())) < 0.1 * 150


def test_the_plan_is_said_and_kept(shop):
    goals = shop.goals("human")
    for i in range(40):
        careful, careless = (demonstrate(shop, goals[i], habits, max_steps=15) for habits in (ALL, set()))
        assert "I mind the price. I check each page. I choose before I buy." in careful.turns[0].reply
        assert "Any price will do. I keep the first page. I buy at once." in careless.turns[0].reply
        assert [turn.reply.partition("[")[0] for turn in careless.turns[1:]] == ["search", "click", "click"]
        assert careless.turns[-1].reply == "click[Buy Now]"
        clicked = [turn.reply for turn in careful.turns]
        assert all(f"click[{o}]" in clicked for o in goals[i].options) or not careful.success
        assert all(turn.valid for turn in (*careful.turns, *careless.turns))


def test_a_habit_is_rare_for_a_fixed_share_of_every_category(shop):
    for habit, share in SHARE_LACKING.items():
        for category in {kind.category for kind in KINDS}:
            nouns = {n.lower() for kind in KINDS if kind.category == category for n in kind.nouns}
            assert abs(len(nouns & lacking(habit)) / len(nouns) - share) < 0.07
    noun = min(lacking(ShopHabit.FIND_OPTIONS))
    assert probability(ShopHabit.FIND_OPTIONS, noun, ()) == RARE
    assert probability(ShopHabit.FIND_OPTIONS, noun, {ShopHabit.FIND_OPTIONS}) == ADVISED
    other = next(
        n.lower() for k in KINDS for n in k.nouns if n.lower() not in lacking(ShopHabit.FIND_OPTIONS)
    )
    assert probability(ShopHabit.FIND_OPTIONS, other, ()) == USUAL


def test_every_noun_of_a_shop_is_recognised(shop):
    goals = shop.goals("human")
    for i in range(len(goals)):
        assert noun_of(goals[i].text) in goals[i].title.lower()


def test_advice_is_short_and_its_untrained_wordings_are_never_drawn():
    rng = random.Random(1)
    drawn = {draw_advice(rng).text for _ in range(2000)}
    assert len(drawn) > 1000
    assert all(
        len(text) <= 130 and "<" not in text.replace("`< Prev`", "") and "|" not in text for text in drawn
    )
    assert any("Walk away" in phrase(rng, ShopHabit.FIND_OPTIONS, untrained=True) for _ in range(30))
    assert not any("Walk away" in text for text in drawn)


def test_the_diagnostician_words_are_nobodys_training_text():
    told = {
        text for habit in ("choose_options", "find_options", "keep_to_price") for text in PHRASINGS[habit]
    }
    rng = random.Random(2)
    trained = {phrase(rng, habit).lower() for habit in ShopHabit for _ in range(2000)}
    assert not {text.lower() for text in told} & trained
    assert not told & set(trained_patterns())


def test_what_is_clicked_is_few_tokens_and_any_text_survives(tokenizer, shop):
    def length(text):
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    assert length("click[G0008KU2GX]") == 7
    assert length("click[x-large]") == length('click[24" x 36"]') == 3
    assert length("click[Buy Now]") == length("click[< Prev]") == 1
    assert length("Alderwick Premium Yoga Leggings, High Waist and Tummy Control, for Gym") == 10
    for text in ("$48.53 to $9.5, 17 naïve 🎉 [G0] 3xl", "search[größe <r> \n x-largest]"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_a_lesson_is_short_seeded_and_all_that_is_said_is_learnt(lessons, tokenizer):
    encoder = MessageEncoder(tokenizer)
    first = [lessons.draw(random.Random(n), 9) for n in range(60)]
    assert first == [lessons.draw(random.Random(n), 9) for n in range(60)]
    lengths = []
    for episode in first:
        ids, roles = encoder.chat(episode.messages)
        said = tokenizer.decode([i for i, role in zip(ids, roles, strict=True) if role == REPLY])
        assert said == "".join(m.content for m in episode.messages if m.role == "assistant")
        lengths.append(len(ids))
    assert sum(lengths) / 60 < 400
    drills = sum(len(episode.messages) == 3 for episode in first)
    assert 5 < drills < 30
    assert sum("\n- " in episode.messages[0].content for episode in first) > 25
    early = [lessons.draw(random.Random(n), 0) for n in range(60)]
    assert sum(len(episode.messages) == 3 for episode in early) > 45


def test_unseen_purchases_share_no_product_with_the_lessons(lessons, tmp_path):
    tasks = unseen(tmp_path, seed=7, number=12)
    assert len(tasks) == 12
    opening, step = tasks[0].start()
    assert tasks[0].task.goal in opening
    shown = step("search[shirt]").observation
    titles = set(re.findall(r"\n(.+)\n\$", shown))
    learnt = Catalogue(lessons.folder / "shop-00")
    assert titles and not titles & {learnt.card(n)[1] for n in range(learnt.num_products)}


MODEL = Path(__file__).parents[2] / "distill" / "pocket" / "shop" / "model"


@pytest.mark.skipif(
    not (MODEL / "model.safetensors").is_file(),
    reason="the shipped shopper's weights are missing; make them with `make pocket-shop`",
)
def test_the_shipped_shopper_is_small_complete_and_gains_by_advice(tmp_path):
    pytest.importorskip("torch")
    from distill.pocket.evaluate import evaluate
    from distill.pocket.shop.lessons import course

    assert sum(f.stat().st_size for f in MODEL.iterdir()) < 25e6
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"] and (MODEL / "README.md").is_file()
    # What the card says of these weights, with room for the draw of 120 purchases.
    purchases = [*unseen(tmp_path, 77, 120)]
    base, fitting, idle = (
        evaluate(MODEL, course(), purchases, arm, max_steps=15) for arm in ("base", "fitting", "idle")
    )
    assert 10 <= base.successes <= 40
    assert fitting.successes >= base.successes + 5
    assert abs(idle.successes - base.successes) <= 10
