import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.agents import make_agent
from actors.chat import Message
from actors.config import AgentConfig
from actors.trajectory import GivenHint, Turn
from envs.task import Task

TASK = Task(env="alfworld", split="test", id="a", kind="k", goal="g")
HINTS = (GivenHint(id="1", text="Open it first."), GivenHint(id="2", text="Do not repeat."))
TURNS = (
    Turn(reply="think: where is it?", action=None, observation="OK."),
    Turn(reply="go to desk 1", action="go to desk 1", observation="You arrive at desk 1."),
)


@pytest.fixture
def agent():
    return make_agent(AgentConfig(prompt="brief"), "alfworld")


def test_chat_layout(agent):
    messages = agent.render(TASK, "The opening.", TURNS, ())
    assert messages == (
        Message(role="system", content=agent.prompt),
        Message(role="user", content="The opening."),
        Message(role="assistant", content="think: where is it?"),
        Message(role="user", content="OK."),
        Message(role="assistant", content="go to desk 1"),
        Message(role="user", content="You arrive at desk 1."),
    )


def test_each_prompt_is_a_prefix_of_the_next(agent):
    prompts = [agent.render(TASK, "o", TURNS[:n], HINTS) for n in range(3)]
    for shorter, longer in itertools.pairwise(prompts):
        assert longer[: len(shorter)] == shorter


def test_hints_change_the_system_message_only(agent):
    with_hints = agent.render(TASK, "o", TURNS, HINTS)
    without = agent.render(TASK, "o", TURNS, ())
    assert with_hints[1:] == without[1:]
    assert (
        with_hints[0].content == f"{agent.prompt}\n\n{agent.hint_header}\n- Open it first.\n- Do not repeat."
    )


@pytest.mark.parametrize(
    "reply",
    [
        "go to desk 1",
        "  go to desk 1  ",
        "> go to desk 1",
        ">go to desk 1",
        "Action: go to desk 1",
        "> act: go to desk 1",
        "\n\n go to desk 1\nYou arrive.",
    ],
)
def test_a_command_is_read_whatever_stands_before_it(agent, reply):
    parsed = agent.parse(reply)
    assert parsed.action == "go to desk 1"
    assert parsed.answer is None
    assert "\n" not in parsed.reply


@pytest.mark.parametrize(
    "reply", ["think: where?", "Think: where?", "> THINK:where?", "Action: think: where?"]
)
def test_a_thought_is_no_action(agent, reply):
    parsed = agent.parse(reply)
    assert parsed.action is None
    assert parsed.answer == "OK."
    assert parsed.fields == (("thought", "where?"),)


@pytest.mark.parametrize("reply", ["", " \n\t\n", ">", "> action:"])
def test_an_empty_reply_says_what_is_expected(agent, reply):
    parsed = agent.parse(reply)
    assert parsed.action is None
    assert parsed.fields == ()
    assert parsed.answer.startswith("Your reply was empty; answer with one line, either `think: ...`")


@given(st.text())
def test_parsing_never_raises_and_says_exactly_one_thing(reply):
    parsed = make_agent(AgentConfig(prompt="brief"), "alfworld").parse(reply)
    assert (parsed.action is None) != (parsed.answer is None)
    assert parsed.action != ""
    assert len(parsed.reply.splitlines()) <= 1


def test_the_name_follows_the_prompt_texts():
    names = {
        make_agent(AgentConfig(prompt=p), e).name for p in ("brief", "full") for e in ("alfworld", "scripted")
    }
    assert len(names) == 4
    assert all(name.startswith("react-") and len(name) == 12 for name in names)


def test_the_brief_prompt_is_one_short_line(agent):
    assert "\n" not in agent.prompt
    assert len(agent.prompt.split()) <= 14


def test_the_full_prompt_names_every_command():
    prompt = make_agent(AgentConfig(prompt="full"), "alfworld").prompt
    for verb in [
        "go to",
        "open",
        "close",
        "take",
        "move",
        "clean",
        "heat",
        "cool",
        "slice",
        "use",
        "examine",
        "look",
        "inventory",
        "help",
        "think:",
    ]:
        assert verb in prompt


def test_an_unknown_environment_is_named():
    with pytest.raises(ValueError, match=r"no react prompt for chess\.full; known: alfworld\.brief"):
        make_agent(AgentConfig(), "chess")
