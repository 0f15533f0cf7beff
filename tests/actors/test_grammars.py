"""Every agent in every environment: what is read in a reply, and what recorded studies rely on."""

import hashlib
import json
import re
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.agents import make_agent
from actors.agents.parsing import write_replies
from actors.chat import Completion, Sampling
from actors.config import AgentConfig, BudgetConfig
from actors.episode import EpisodeSpec, run_episode
from actors.trajectory import GivenHint, Turn
from envs.config import ScriptedConfig
from envs.registry import list_tasks, open_env
from envs.task import Task

AGENTS = ("react", "act", "stateact")
ENVS = ("alfworld", "scripted", "webshop")
EVERY = [(name, env) for name in AGENTS for env in ENVS]
STATES = {
    "goal": "put a mug on the desk",
    "locations_visited": "",
    "current_location": "starting location",
    "current_inventory": "",
    "current_selection": "",
    "thought": "",
}

RECORDED = {
    ("alfworld", "brief"): ("react-4b6d02", "2e1b572ce06d4ec58a9038a665cf3aaae94bd0d2cd4db8d6ecb012c356943844"),
    ("alfworld", "full"): ("react-4873fc", "e4b2f6f57acd5ae81471f9fca7ef82c58dce8def5b525d0e4ebf615662fb082d"),
    ("scripted", "brief"): ("react-665178", "88c8a46fcff86024edae680ed078d6ae29c25b3e684814ac0a1dfc47c8e8efc8"),
    ("scripted", "full"): ("react-50d7a5", "b07f833abe9f6405c3d4139941772407b2c6accf3b3bc590d22865a9515515f2"),
    ("webshop", "brief"): ("react-7e34a8", "61a57a74ec38f3c81b7865fd50836680a44a20e61e70facef040ebc7e41ac837"),
    ("webshop", "full"): ("react-09d3c6", "0f22ccc98e5c7ba1f3d69301ad922614439f408f93c799202b3b2157828603e8"),
}  # fmt: skip
"""Name, and hash of prompts with and without hints, of the agent that recorded studies and the pocket models were made with."""


def agent_of(name, env, **settings):
    return make_agent(AgentConfig(name=name, **settings), env)


@pytest.mark.parametrize("env, prompt", RECORDED)
def test_the_react_of_recorded_studies_is_unchanged(env, prompt):
    task = Task(env="alfworld", split="test", id="a", kind="k", goal="g")
    hints = (GivenHint(id="1", text="Open it first."), GivenHint(id="2", text="Do not repeat."))
    turns = (
        Turn(reply="think: where is it?", action=None, observation="OK."),
        Turn(reply="go to desk 1", action="go to desk 1", observation="You arrive at desk 1."),
    )
    agent = agent_of("react", env, prompt=prompt)
    prompts = [
        [asdict(message) for message in agent.render(task, "The opening.", turns[:n], given)]
        for n in range(3)
        for given in ((), hints)
    ]
    assert RECORDED[env, prompt] == (agent.name, hashlib.sha256(json.dumps(prompts).encode()).hexdigest())
    assert agent.stop == ("\n",)


pieces = st.sampled_from(
    """goal:|Goal: |locations visited: None|current_location :|current selection: red|thought: I see.|Action:|action: go to desk 1\
|> think: hm|think:|act : look|search[a]|>| |\n|\n\n|\r|\x85|\x1c|None""".split("|")
)
replies = st.one_of(st.text(), st.lists(st.one_of(pieces, st.text(max_size=4)), max_size=14).map("".join))


@pytest.mark.parametrize("name, env", EVERY)
@given(reply=replies)
def test_parsing_never_raises_and_what_it_keeps_reads_the_same(name, env, reply):
    agent = agent_of(name, env)
    parsed = agent.parse(reply)
    assert (parsed.action is None) != (parsed.answer is None)
    assert parsed.action != ""
    assert parsed.answer != ""
    assert agent.parse(parsed.reply) == parsed


@given(reply=replies)
def test_react_is_read_by_the_rules_of_recorded_studies(reply):
    line = next((stripped for raw in reply.splitlines() if (stripped := raw.strip())), "")
    said = re.sub(r"^>?\s*(?:act(?:ion)?\s*:)?\s*", "", line, count=1, flags=re.IGNORECASE)
    parsed = agent_of("react", "alfworld").parse(reply)
    thought = re.match(r"think:\s*(.*)", said, re.IGNORECASE)
    assert parsed.reply == line
    assert parsed.action == (said if said and not thought else None)
    assert parsed.fields == ((("thought", thought[1]),) if thought else ())


@pytest.mark.parametrize("name, env", EVERY)
def test_what_is_written_by_a_grammar_is_read_by_it(name, env):
    agent = agent_of(name, env)
    said = STATES | {"thought": "It may lie there."}
    written = list(write_replies(agent.grammar, said, "go to desk 1"))
    parsed = [agent.parse(reply) for reply, _ in written]
    assert [(p.reply, p.answer) for p in parsed] == written
    assert [p.action for p in parsed] == [None] * (len(parsed) - 1) + ["go to desk 1"]
    told = dict(pair for p in parsed for pair in p.fields)
    assert told == {field.name: said[field.name] or "None" for field in agent.grammar.fields}


def test_a_state_names_its_fields_in_order():
    reply = "> Goal: put a mug away\nLocations visited: desk 1\ncurrent_location: desk 1\ncurrent inventory: None\n\nthought: none yet,\nthen some.\naction: go to bed 1\nYou see a mug.\naction: x"
    parsed = agent_of("stateact", "alfworld").parse(reply)
    assert parsed.action == "go to bed 1"
    assert [name for name, _ in parsed.fields] == [
        "goal",
        "locations_visited",
        "current_location",
        "current_inventory",
        "thought",
    ]
    assert dict(parsed.fields)["thought"] == "none yet, then some."
    assert parsed.reply.endswith("\naction: go to bed 1")


@pytest.mark.parametrize(
    "reply", ["action: look", "action:\nlook", "Sure.\n>action : look", "ACTION:look\n\nrest"]
)
def test_an_action_alone_is_a_reply_of_stateact(reply):
    assert agent_of("stateact", "alfworld").parse(reply).action == "look"


@pytest.mark.parametrize(
    "reply", ["goal: x", "go to desk 1", "goal: x\naction:", "action:\ngoal: x", "thought: hm", "", "\n"]
)
def test_a_state_without_a_command_is_an_invalid_turn_that_says_what_is_missing(reply):
    parsed = agent_of("stateact", "alfworld").parse(reply)
    assert parsed.action is None
    assert parsed.fields == ()
    assert "`action: <command>`" in parsed.answer


def test_act_has_no_thoughts():
    assert agent_of("act", "alfworld").parse("think: hm").action == "think: hm"


@pytest.mark.parametrize("env", ENVS)
def test_agents_are_told_the_same_commands(env):
    texts = [agent_of(name, env).prompt for name in AGENTS]
    first, *_, last = texts[0].split("\n\n")
    commands = texts[0].split("\n\n")[-2]
    assert all(text.startswith(first) and text.endswith(f"{commands}\n\n{last}") for text in texts)


@pytest.mark.parametrize("name, env", EVERY)
def test_the_full_prompt_shows_every_label(name, env):
    agent = agent_of(name, env)
    labels = [field.label for field in agent.grammar.fields] + ["action"] * (not agent.grammar.action.bare)
    assert all(f"{label}: <" in agent.prompt for label in labels)


def test_names_tell_agents_and_settings_apart():
    settings = [{"layout": "transcript"}, {"hint_placement": "user"}, {"prompt": "brief"}, {}]
    names = [agent_of(name, env, **one).name for name, env in EVERY for one in settings]
    assert len(set(names)) == len(names)


class Speaker:
    """A model that says what is well formed, in the ways in which models begin; the engine stops it where the agent wants."""

    def __init__(self, text):
        self.text, self.prompts = text, []

    async def __call__(self, messages, sampling, *, session):
        self.prompts.append(messages)
        said = self.text
        for stop in sampling.stop:
            said = said.partition(stop)[0]
        return Completion(
            text=said, prompt_tokens=1, cached_tokens=0, completion_tokens=1, finish_reason="stop"
        )


@pytest.mark.parametrize("layout", ["chat", "transcript"])
@pytest.mark.parametrize("begin", ["", " ", "> ", ">"])
@pytest.mark.parametrize("name", AGENTS)
async def test_the_first_reply_reaches_the_world(name, begin, layout):
    """A prompt that lets the model say first what the prompt should have said costs a turn of every episode."""
    world = ScriptedConfig(num_tasks=3)
    agent = agent_of(name, "scripted", layout=layout)
    *_, (reply, _) = write_replies(agent.grammar, STATES, "go to attic")
    model = Speaker(f"{begin}{reply}\n\nYou are in the attic.")
    spec = EpisodeSpec(task=list_tasks(world)[0], role="base", arm="base", seed=0)
    trajectory = await run_episode(
        open_env(world), agent, model, spec, BudgetConfig(max_turns=1), Sampling(), "m"
    )
    assert trajectory.turns[0].action == "go to attic"
    assert trajectory.turns[0].valid
    assert "attic" in trajectory.turns[0].observation


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("prompt", ["brief", "full"])
def test_stateact_without_thoughts_is_an_agent_of_its_own_that_never_asks_for_one(env, prompt):
    thinking, plain = (agent_of("stateact", env, prompt=prompt, thoughts=t) for t in (True, False))
    assert plain.name != thinking.name
    assert "thought" not in plain.prompt and plain.prompt.splitlines()[0] == thinking.prompt.splitlines()[0]
    asked = sum("thought:" in line for line in thinking.prompt.splitlines())
    assert len(thinking.prompt.splitlines()) - len(plain.prompt.splitlines()) == asked == (prompt == "full")
    fields = {field.name: STATES[field.name] for field in plain.grammar.fields}
    *_, (reply, _) = write_replies(plain.grammar, {**fields, "thought": "I think."}, "look")
    assert "think" not in reply and plain.parse(reply).action == "look"
    assert "thought" not in plain.parse("").answer


def test_only_stateact_can_do_without_thoughts():
    with pytest.raises(ValueError, match="commands alone are name = 'act'"):
        AgentConfig(name="react", thoughts=False)
