"""A leak is taken out sentence by sentence, and never at the price of an action."""

from dataclasses import replace

import pytest

from actors.agents import make_agent
from actors.config import AgentConfig
from actors.trajectory import Turn
from distill.audit import LeakAuditor
from distill.rewrite import rewrite

HINT = "Open every closed {container} you come to and look inside."
AUDITOR = LeakAuditor(hints=(HINT,))
TOLD = "Open every closed cabinet you come to and look inside."


@pytest.fixture
def agent():
    return make_agent(AgentConfig(), "alfworld")


@pytest.fixture
def played(trajectory_of, panel_of):
    return trajectory_of(panel_of(1).tasks[0], arm="teacher")


def thinking(trajectory, *thoughts):
    turns = tuple(
        Turn(reply=f"think: {t}", fields=(("thought", t),), action=None, observation="OK.") for t in thoughts
    )
    return replace(trajectory, turns=(*turns, *trajectory.turns))


def replies(trajectory):
    return [turn.reply for turn in trajectory.turns]


def test_the_sentence_that_leaks_goes_and_the_others_stay(agent, played):
    said = thinking(played, f"I need an apple. {TOLD} The fridge is near.")
    cleaned = rewrite(said, AUDITOR, agent)
    assert replies(cleaned) == ["think: I need an apple. The fridge is near.", *replies(played)]
    assert cleaned.turns[0].fields == (("thought", "I need an apple. The fridge is near."),)
    assert AUDITOR.spoken(replies(cleaned)) == []
    assert cleaned.id == said.id


def test_a_thought_that_says_nothing_else_goes_as_a_turn(agent, played):
    assert replies(rewrite(thinking(played, TOLD), AUDITOR, agent)) == replies(played)


def test_a_leak_over_two_sentences_and_two_leaks_in_one_thought(agent, played):
    over = thinking(played, "Fine. Open every closed cabinet. You come to and look inside. Good.")
    assert AUDITOR.spoken(replies(over))
    assert (
        AUDITOR.spoken(replies(cleaned := rewrite(over, AUDITOR, agent))) == []
        and "Fine." in replies(cleaned)[0]
    )
    twice = thinking(played, f"{TOLD} I look. The hint says so.")
    assert replies(rewrite(twice, AUDITOR, agent))[0] == "think: I look."


def test_both_halves_of_a_split_hint_go(agent, played):
    split = thinking(
        played, "I look. Open every closed cabinet you", "come to and look inside. Then I go on."
    )
    assert [leak.check for leak in AUDITOR.spoken(replies(split))] == ["split"]
    assert replies(rewrite(split, AUDITOR, agent))[:2] == ["think: I look.", "think: Then I go on."]


def test_an_action_is_never_rewritten(agent, played):
    act = replace(played, turns=(Turn(reply=f"> {TOLD}", action=TOLD, observation="?"), *played.turns))
    assert rewrite(act, AUDITOR, agent) is None


def test_what_does_not_leak_is_left_alone(agent, played):
    assert rewrite(played, AUDITOR, agent) is played


def test_a_state_loses_its_thought_and_keeps_what_it_says_of_the_world(played):
    agent = make_agent(AgentConfig(name="stateact"), "alfworld")
    state = "goal: heat an apple\nlocations visited: fridge 1\ncurrent location: fridge 1\ncurrent inventory: None"
    turns = [
        Turn(
            reply=f"{state}\n{thought}action: open fridge 1",
            action="open fridge 1",
            observation="You open it.",
        )
        for thought in (f"thought: It is closed. {TOLD}\n", f"thought: {TOLD}\n", "")
    ]
    cleaned = rewrite(replace(played, turns=tuple(turns)), AUDITOR, agent)
    assert replies(cleaned) == [
        f"{state}\nthought: It is closed.\naction: open fridge 1",
        *[f"{state}\naction: open fridge 1"] * 2,
    ]
    assert dict(cleaned.turns[0].fields)["thought"] == "It is closed."
