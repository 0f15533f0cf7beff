"""The leak audit catches every kind of leak that was planted and leaves the world's own words alone."""

import random
import time

import pytest

from distill import audit
from distill.audit import Leak, LeakAuditor, leak_message
from distill.hints.rules import RULES, rules_for
from distill.pocket.demonstrator import demonstrate
from distill.pocket.habits import Habit
from envs.alfworld.generate import make_game

HINT = "Heat the {object} with the microwave before you put it in the {target}."
OPEN = "Open every closed {container} you come to and look inside."
HEADER = "Advice from earlier tries. Apply it silently; what you observe comes first."
# What a wordier writer might add: short ones, and ones that speak like the world.
OTHERS = (
    "Open the {container}.",
    "Go to {place}.",
    "Take {object} from {place}.",
    "Find the second {object}.",
    "Use the desklamp.",
    "Move {object} to {target}.",
    "Check the fridge for eggs before other places.",
    "Verify that the {object} is in your inventory.",
    "Put the {object} in the {target}.",
    "After arriving at the sinkbasin with the {object}, use open before anything else.",
)
EVERY_HINT = (
    tuple(text for env in RULES for texts in rules_for(env).PHRASINGS.values() for text in texts) + OTHERS
)
AUDITOR = LeakAuditor(hints=EVERY_HINT, block_lines=frozenset({HEADER}))

PLANTED = [
    ("exact", f"think: {HINT}"),
    ("exact", "think: Open the {container}."),
    ("normalised", "think: heat the object with the microwave, before you put it in the target"),
    ("slots", "think: Heat the apple 1 with the microwave before you put it in the garbagecan 1."),
    ("slots", "> think: now heat the apple with the microwave before you put it in the fridge, then go on"),
    ("slots", "think: Open every closed cabinet you come to and look inside."),
    ("run", "think: so with the microwave before you put it away, as always"),
    ("fuzzy", "think: I heat the apple in the microwave before I put it in the fridge."),
    ("fuzzy", "think: I open every shut drawer you come to and then look inside"),
    ("fuzzy", "think: heet the appel with the microwave befor you put it in the frige"),
    ("phrase", "think: the hint says that drawers should be opened."),
    ("phrase", "think: As the advice suggests, I go on."),
    ("phrase", "think: following the given hints, I open the drawer."),
    ("phrase", "think: according to my advice the fridge is next."),
    ("block", f"think: {HEADER}"),
    ("phrase", "think: the guidance recommends that I look inside."),
    ("normalised", "think: put_both_objects_in_one_and_the_same_target"),
    ("slots", "think: Put both mugs in one and the same fridge 1."),
    ("run", "think: so after arriving at the sinkbasin with the mug I go on"),
    ("told", "think: I was told that whatever cabinet is closed has to be opened and looked into."),
    ("told", "think: someone taught me this: the microwave heats things before they are put anywhere."),
    (
        "told",
        "think: From earlier attempts, shut things stay shut. A closed drawer I come to, I open and look in.",
    ),
    ("normalised", "think: HEAT_THE_OBJECT_WITH_THE_MICROWAVE_BEFORE_YOU_PUT_IT_IN_THE_TARGET"),
    ("normalised", "think: he\u200bat the object with the micro\u200bwave before you put it in the target"),
]
CLEAN = [
    "open cabinet 1",
    "go to fridge 1",
    "take apple 1 from countertop 2",
    "move apple 1 to garbagecan 1",
    "put apple 1 in/on garbagecan 1",
    "heat apple 1 with microwave 1",
    "use desklamp 1",
    "think: I need a hot apple for the garbagecan.",
    "think: To solve the task, I need to find an apple, heat it with the microwave, and then put it in the garbagecan.",
    "think: First I look for the apple. It may be in the fridge or on a countertop.",
    "think: The cabinet 1 is closed. I open it.",
    "think: I open the closed drawer and look inside.",
    "think: Nothing happened, so I try another command.",
    "think: Now I take the apple to the microwave and heat it.",
    "think: The fridge holds no apple; I go on to the next place.",
    "think: I have the first apple in the garbagecan. Now I find the second apple.",
    "think: I hold the bowl. I go to the desk and use the desklamp.",
    "think: It is wise to follow the order of the room.",
    "think: the tips of the forks do not matter",
    "think: They say nothing; the drawer is empty.",
    "think: I have learned where the cups are: on the shelf.",
    "think: My previous attempt was refused, so I try another command.",
]


def checks(text: str) -> set[str]:
    return {leak.check for leak in AUDITOR.spoken([text])}


@pytest.mark.parametrize(("check", "text"), PLANTED)
def test_a_planted_leak_of_each_kind_is_caught(check, text):
    assert check in checks(text)


@pytest.mark.parametrize("text", CLEAN)
def test_ordinary_play_is_no_leak(text):
    assert AUDITOR.spoken([text]) == []


def test_a_hint_split_over_two_thoughts_is_caught_in_both():
    first, second = (
        "think: Heat the apple 1 with the microwave before",
        "think: you put it in the garbagecan 1.",
    )
    assert AUDITOR.spoken([first]) == AUDITOR.spoken([second]) == []
    (leak,) = AUDITOR.spoken(["look", first, "go to microwave 1", second])
    assert (leak.check, leak.begun, leak.turn, leak.hint) == ("split", 2, 4, HINT)
    assert "turns 2 and 4 still says" in leak_message("t", leak)
    fields = [
        f"goal: a hot apple\nthought: {half.removeprefix('think: ')}\naction: look"
        for half in (first, second)
    ]
    assert [leak.check for leak in AUDITOR.spoken(fields)] == ["split"]
    assert (
        AUDITOR.spoken(["go to microwave 1", "heat apple 1 with microwave 1", "move apple 1 to fridge 1"])
        == []
    )


def test_to_have_been_told_the_goal_is_no_leak():
    cap = "The instruction says that the price must be lower than 40 dollars."
    pair = "I was told that both mugs go to the same drawer."
    auditor = LeakAuditor(
        hints=(
            "Put both {object}s in the same {target}.",
            "Read the price of the {item}: it must be lower than allowed.",
        )
    )
    for said, goal in (
        (cap, "a mug, price lower than 40 dollars"),
        (pair, "put both mugs in the same drawer."),
    ):
        assert [leak.check for leak in auditor.spoken([f"think: {said}"])] == ["told"]
        assert auditor.spoken([f"think: {said}"], goal="put a book on the desk.")
        assert auditor.spoken([f"think: {said}"], goal=goal) == []


def clean_episodes(number: int) -> list[tuple[str, ...]]:
    rng = random.Random(3)
    episodes = []
    for _ in range(number):
        shown = demonstrate(make_game(rng, rooms="small").game, tuple(Habit), max_steps=40)
        replies = [turn.reply for turn in shown.turns] + [turn.observation for turn in shown.turns]
        episodes.append((shown.opening, *replies))
    return episodes


def test_a_thousand_clean_episodes_raise_no_false_alarm():
    alarms = [leak for replies in clean_episodes(1000) for leak in AUDITOR.spoken(replies)]
    assert alarms == []


def test_the_turn_is_counted_and_the_message_tells_what_to_do():
    (leak,) = AUDITOR.spoken(["open cabinet 1", "look", f"think: {OPEN}"])
    assert leak == Leak(check="exact", hint=OPEN, found=OPEN, turn=3)
    assert leak_message("alfworld/train/00042", leak) == (
        f'hint leak: alfworld/train/00042 turn 3 still says "{OPEN}" (check exact); drop the trajectory or rewrite the turn'
    )


def test_repeating_the_task_is_no_leak_even_where_a_hint_says_the_same():
    auditor = LeakAuditor(hints=("Examine the {object} with the desklamp.",))
    reply = "think: I have to examine the pen with the desklamp."
    assert [leak.check for leak in auditor.spoken([reply])] == ["slots"]
    assert auditor.spoken([reply], heard="Your task is to: examine the pen with the desklamp.") == []
    assert auditor.spoken([reply], heard="Your task is to: examine the cup with the desklamp.")


def test_the_prompt_is_searched_for_hints_as_they_were_written():
    chat = "<|im_start|>system\nSolve the task.\n\n{}\n<|im_end|>\n<|im_start|>user\nYou see a cabinet 1.<|im_end|>"
    assert [leak.check for leak in AUDITOR.unspoken(chat.format(f"- {HINT}"))] == ["exact"]
    assert [leak.check for leak in AUDITOR.unspoken(chat.format(HEADER))] == ["block"]
    assert AUDITOR.unspoken(chat.format("")) == []
    lowered = AUDITOR.unspoken(chat.format(HINT.lower().replace("{", "").replace("}", "")))
    assert [(leak.check, leak.hint) for leak in lowered] == [("normalised", HINT)]


def test_words_of_the_bare_prompt_are_nobodys_leak():
    prompt = "Call things by the exact names that you have read."
    said = LeakAuditor(hints=(prompt,))
    allowed = LeakAuditor(hints=(prompt,), allowed=f"You are a robot. {prompt}")
    assert [leak.check for leak in said.unspoken(prompt)] == ["exact"]
    assert allowed.unspoken(prompt) == []
    assert [leak.check for leak in allowed.spoken([f"think: {prompt}"])] == ["exact"]


def test_a_hundred_thousand_rows_take_minutes_at_most():
    episodes = clean_episodes(200)
    auditor = LeakAuditor(hints=EVERY_HINT, block_lines=frozenset({HEADER}))
    auditor.spoken(episodes[0])
    start = time.process_time()
    for replies in episodes:
        auditor.spoken(replies)
        auditor.unspoken("\n".join(replies))
    a_row = (time.process_time() - start) / len(episodes)
    assert 100_000 * a_row < 600


def test_what_is_remembered_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr(audit, "_MOST_KNOWN", 50)
    auditor = LeakAuditor(hints=(HINT,))
    for number in range(200):
        auditor.spoken([f"think: I see the mug {number} there.", f"think: I see no mug {number} here."])
    assert len(auditor._known) <= 50 and len(auditor._known_pairs) <= 50
