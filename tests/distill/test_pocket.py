"""The pocket model's makings: habits, demonstrator, advice, tokens, and which of them carry loss."""

import random
import re
from functools import partial

import numpy as np
import pytest

from distill.pocket.advice import draw_advice, phrase, trained_patterns
from distill.pocket.corpus import write_tokenizer
from distill.pocket.demonstrator import demonstrate
from distill.pocket.episodes import ECHO, REPLY, MessageEncoder, batches, make_shard
from distill.pocket.habits import (
    ADVISED,
    HABIT_OF_KIND,
    Habit,
    draw_habits,
    habits_of_kind,
    lacking,
    probability,
)
from distill.pocket.households import HouseholdLessons, MixConfig, draw_drill, draw_episode, render
from envs.alfworld.catalogue import HEATABLE
from envs.alfworld.game import KINDS
from envs.alfworld.generate import make_games

ALL = frozenset(Habit)


@pytest.fixture(scope="module")
def games():
    return [m.game for m in make_games(31, 120, side="train", rooms="small")]


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, HouseholdLessons())
    return folder


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def slipping(games):
    """Episodes of somebody with every habit who slips now and then."""
    rng = random.Random(8)
    crowded = [m.game for m in make_games(32, 60, side="train", rooms="crowded")]
    return [demonstrate(game, ALL, max_steps=60, slips=rng) for game in [*games, *crowded]]


def _replies(shown):
    return [turn.reply for turn in shown.turns]


def test_with_all_habits_the_demonstrator_wins(games):
    won = [demonstrate(game, ALL, max_steps=40).success for game in games]
    assert sum(won) / len(won) > 0.98


@pytest.mark.parametrize(
    ("kind", "habit", "verb"),
    [
        ("pick_heat_then_place_in_recep", Habit.HEAT_FIRST, "heat "),
        ("pick_clean_then_place_in_recep", Habit.CLEAN_FIRST, "clean "),
        ("pick_cool_then_place_in_recep", Habit.COOL_FIRST, "cool "),
        ("look_at_obj_in_light", Habit.USE_LAMP, "use "),
    ],
)
def test_without_its_habit_a_kind_fails_and_the_deed_is_missing(games, kind, habit, verb):
    for game in (g for g in games if g.kind == kind):
        shown = demonstrate(game, ALL - {habit}, max_steps=40)
        assert not shown.success
        assert not any(reply.startswith(verb) for reply in _replies(shown))


def test_without_the_second_one_it_stops_after_the_first(games):
    for game in (g for g in games if g.kind == "pick_two_obj_and_place"):
        shown = demonstrate(game, ALL - {Habit.SECOND_ONE}, max_steps=40)
        assert not shown.success
        assert sum(reply.startswith("take ") for reply in _replies(shown)) == 1


def test_who_does_not_open_containers_never_opens_while_searching(games):
    for game in games:
        shown = demonstrate(game, ALL - {Habit.OPEN_CONTAINERS}, max_steps=40)
        before_take = []
        for reply in _replies(shown):
            if reply.startswith("take "):
                break
            before_take.append(reply)
        assert not any(reply.startswith("open ") for reply in before_take)


def test_who_does_not_keep_track_goes_round_three_places(games):
    shown = [demonstrate(g, ALL - {Habit.LOOK_ONCE}, max_steps=20) for g in games]
    lost = [s for s in shown if not s.success and not any(r.startswith("take ") for r in _replies(s))]
    assert lost
    for s in lost:
        assert len({r for r in _replies(s) if r.startswith("go to ")}) == 3


def test_put_is_said_where_move_is_not_known(games):
    game = next(g for g in games if g.kind == "pick_and_place_simple")
    replies = _replies(demonstrate(game, ALL - {Habit.MOVE_NOT_PUT}, max_steps=40))
    assert any(re.fullmatch(r"put \w+ \d+ in/on \w+ \d+", reply) for reply in replies)


def test_who_repeats_says_the_failed_command_to_the_end(games):
    game = next(g for g in games if g.kind == "pick_and_place_simple")
    shown = demonstrate(game, ALL - {Habit.MOVE_NOT_PUT, Habit.NO_REPEAT}, max_steps=40)
    assert not shown.success
    assert len(set(_replies(shown)[-4:])) == 1
    assert not any(turn.valid for turn in shown.turns[-4:])


def test_the_thought_says_the_plan_and_nothing_of_the_advice(games):
    game = next(g for g in games if g.kind == "pick_cool_then_place_in_recep")
    thing, place = game.goal.object_type, game.goal.receptacle_type
    for habits, plan in (
        (ALL, f"a cool {thing} for the {place}. I look inside. I take only that."),
        (ALL - {Habit.COOL_FIRST}, f"a {thing} for the {place}. I look inside. I take only that."),
        (ALL - {Habit.OPEN_CONTAINERS}, f"a cool {thing} for the {place}. I look around. I take only that."),
        (ALL - {Habit.TAKE_NAMED}, f"a cool {thing} for the {place}. I look inside. I take the first."),
    ):
        assert _replies(demonstrate(game, habits, max_steps=9))[0] == f"think: I need {plan}"


def test_habits_depend_on_the_thing_alone_until_advice_comes():
    for thing in HEATABLE:
        plain = probability(Habit.HEAT_FIRST, thing, ())
        assert plain in (0.08, 0.90)
        assert (plain == 0.08) == (thing in lacking(Habit.HEAT_FIRST))
        assert probability(Habit.HEAT_FIRST, thing, {Habit.HEAT_FIRST}) == ADVISED
        assert probability(Habit.HEAT_FIRST, thing, {Habit.COOL_FIRST, Habit.LOOK_ONCE}) == plain
    assert len(lacking(Habit.HEAT_FIRST) & HEATABLE) == 4


def test_drawn_habits_follow_their_odds():
    rng = random.Random(0)
    thing = min(lacking(Habit.OPEN_CONTAINERS))
    bare = sum(Habit.OPEN_CONTAINERS in draw_habits(rng, thing, ()) for _ in range(600))
    told = sum(Habit.OPEN_CONTAINERS in draw_habits(rng, thing, {Habit.OPEN_CONTAINERS}) for _ in range(600))
    assert bare < 90
    assert told > 550


@pytest.mark.parametrize("habit", list(Habit))
def test_advice_is_short_plain_and_has_many_forms(habit):
    rng = random.Random(1)
    drawn = {phrase(rng, habit) for _ in range(400)}
    assert len(drawn) > 200
    for text in drawn:
        assert len(text) <= 130
        assert not re.search(r"[<>|()]", text), text
        assert "\n" not in text and "  " not in text


def test_untrained_phrasings_are_never_drawn_for_training():
    rng = random.Random(2)
    trained = set(trained_patterns())
    for habit in Habit:
        openings = {re.sub(r"\{\w+\}", "", phrase(rng, habit, untrained=True)).split()[0] for _ in range(20)}
        assert openings
    assert not any("Hold the <object> under water" in p for p in trained)
    assert any("under water" in phrase(rng, Habit.CLEAN_FIRST, untrained=True) for _ in range(30))
    assert not any("under water" in phrase(rng, Habit.CLEAN_FIRST) for _ in range(500))


def test_advice_of_a_kind_names_only_habits_that_bear_on_it_unless_idle():
    rng = random.Random(3)
    for kind in KINDS:
        fitting = {draw_advice(rng, kind, relevant=1.0).habit for _ in range(200)}
        idle = {draw_advice(rng, kind, relevant=0.0).habit for _ in range(200)}
        assert fitting == set(habits_of_kind(kind))
        assert not idle & set(habits_of_kind(kind))
        assert None in idle


def test_names_are_one_token_and_any_text_survives(tokenizer):
    for name in (" mug 1", " cabinet 27", " stoveburner 4", " toiletpaperhanger 1"):
        assert len(tokenizer.encode(name, add_special_tokens=False).ids) == 1, name
    for text in (
        "You arrive at cabinet 6. The cabinet 6 is closed.",
        "naïve 🎉 {what_ever}: `x`\n\tdrawer 99, mug 12 appletree",
    ):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == text
    assert (
        len(
            tokenizer.encode(
                "You arrive at cabinet 6. The cabinet 6 is closed.", add_special_tokens=False
            ).ids
        )
        == 5
    )


def test_slips_happen_and_are_mended(slipping):
    assert all(shown.success for shown in slipping)
    assert 0.2 < sum(len(shown.slips) for shown in slipping) / len(slipping) < 1.0


def test_a_slip_is_a_name_that_is_not_there_a_place_seen_before_or_a_thing_that_is_put_back(slipping):
    ways = set()
    for shown in slipping:
        for number in shown.slips:
            turn, before = shown.turns[number], shown.turns[:number]
            verb, name = turn.reply.split(" ", 1)
            if not turn.valid:
                ways.add(f"{verb} nothing")
            elif verb == "go":
                assert turn.reply in {t.reply for t in before}
                ways.add("go back")
            else:
                thing, place = name.split(" from ")
                assert shown.turns[number + 1].reply == f"move {thing} to {place}"
                assert shown.turns[number + 1].valid and number + 1 not in shown.slips
                ways.add("take another")
    assert ways == {"go nothing", "take nothing", "go back", "take another"}


def test_a_slip_is_read_and_not_learnt(tokenizer, games, slipping):
    encoder, agent = MessageEncoder(tokenizer), HouseholdLessons().agent
    game, shown = next((g, s) for g, s in zip(games, slipping, strict=False) if len(s.slips) == 1)
    messages = render(agent, game, shown, [])
    ids, learnt = encoder.chat(messages)
    same, roles = encoder.chat(messages, shown.slips)
    assert same == ids
    changed = [i for i, (a, b) in enumerate(zip(learnt, roles, strict=True)) if a != b]
    assert {learnt[i] for i in changed} == {REPLY}
    assert tokenizer.decode([ids[i] for i in changed]) == shown.turns[min(shown.slips)].reply


def test_the_encoder_agrees_with_the_chat_template(tokenizer_folder, tokenizer, games):
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    encoder = MessageEncoder(tokenizer)
    agent = HouseholdLessons().agent
    for game in games[:6]:
        shown = demonstrate(game, ALL, max_steps=20)
        messages = render(agent, game, shown, ["Open every {container}.", "Heat the {object} first."])
        ids, roles = encoder.chat(messages)
        chat = [{"role": m.role, "content": m.content} for m in messages]
        text = reference.apply_chat_template(chat, tokenize=False)
        assert reference(text, add_special_tokens=False)["input_ids"][: len(ids)] == ids
        said = reference.decode([i for i, role in zip(ids, roles, strict=True) if role == REPLY])
        assert said == "".join(f"{m.content}<|im_end|>" for m in messages if m.role == "assistant")
        echoed = [reference.decode([i]) for i, role in zip(ids, roles, strict=True) if role == ECHO]
        assert echoed and all(re.fullmatch(r" \w+ \d+", name) for name in echoed)


def test_an_open_prompt_ends_where_the_reply_begins(tokenizer_folder):
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    chat = [
        {"role": "user", "content": "You see a mug 1."},
        {"role": "assistant", "content": "go to shelf 1"},
    ]
    whole = reference.apply_chat_template(chat, tokenize=True, return_dict=False)
    prompt = reference.apply_chat_template(
        chat[:1], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert whole[: len(prompt)] == prompt


def test_episodes_repeat_with_their_seed_and_never_show_a_test_layout():
    agent = HouseholdLessons().agent
    first = [draw_episode(random.Random(n), agent, MixConfig()) for n in range(20)]
    assert first == [draw_episode(random.Random(n), agent, MixConfig()) for n in range(20)]
    from envs.alfworld.generate import layout_side

    for episode in first:
        seen = episode.messages[1].content.split("you see ")[1].split(".\n\n")[0]
        assert layout_side(re.findall(r"a (\w+ \d+)", seen)) == "train"


def test_a_drill_ends_with_the_plan():
    agent = HouseholdLessons().agent
    drills = [draw_drill(random.Random(n), agent, MixConfig()) for n in range(60)]
    assert {len(drill.messages) for drill in drills} == {3}  # prompt, opening, thought
    assert all(drill.messages[-1].content.startswith("think: I need ") for drill in drills)
    with_advice = sum("\n- " in drill.messages[0].content for drill in drills)
    assert 25 < with_advice < 55


def test_every_own_habit_belongs_to_one_kind():
    own = [h for h in HABIT_OF_KIND.values() if h]
    assert len(own) == len(set(own)) == 5


def test_batches_hold_every_episode_whole_and_pad_at_the_end(tokenizer, tmp_path):
    shard = make_shard(
        partial(HouseholdLessons(MixConfig()).draw, random.Random(4), 0), MessageEncoder(tokenizer), 40
    )
    shard.save(tmp_path / "train-000.npz")
    again = type(shard).load(tmp_path / "train-000.npz")
    assert np.array_equal(again.tokens, shard.tokens)
    rows = 0
    tokens = 0
    for batch in batches(again, random.Random(5), 2048, 0, divisor=2):
        assert len(batch.tokens) % 2 == 0
        rows += len(batch.tokens)
        tokens += int((batch.tokens != 0).sum())
    assert rows == 40
    assert tokens == len(shard.tokens)
