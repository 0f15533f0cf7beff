"""Where texts and hints stand in the prompt, and that prompts only grow."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.agents import make_agent
from actors.agents.examples import Example, ExampleStep, write_examples
from actors.config import AgentConfig
from actors.trajectory import GivenHint, Turn
from envs.task import Task

PLACEMENTS = ("system", "user", "before_examples", "after_examples")
TASK = Task(env="alfworld", split="test", id="t", kind="clean", goal="g")
HINTS = (GivenHint(id="1", text="Open it first."), GivenHint(id="2", text="Do not repeat."))
SAYS = (
    ("goal", "clean"),
    ("locations_visited", ""),
    ("current_location", "bed 1"),
    ("current_inventory", "mug 1"),
    ("thought", "I see."),
)


def example_of(number, kind="clean", **changes):
    task = Task(env="alfworld", split="train", id=f"e{number}", kind=kind, goal=f"goal {number}")
    step = ExampleStep(fields=SAYS, action=f"go to desk {number}", observation=f"Desk {number}.")
    return Example(
        task=replace(task, **changes), played_on=f"{number}", opening=f"Opening {number}.", steps=(step,)
    )


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    path = tmp_path_factory.mktemp("examples") / "examples.jsonl"
    write_examples([example_of(1, "heat"), example_of(2), example_of(3), example_of(4, "heat")], path)
    return str(path)


def agent_of(examples, name="react", **settings):
    return make_agent(AgentConfig(name=name, shots=2, examples=examples, **settings), "alfworld")


def turn(number):
    return Turn(reply=f"go to desk {number}", action=f"go to desk {number}", observation=f"At desk {number}.")


def text_of(messages):
    return "\n\n".join(message.content for message in messages)


def test_the_places_of_hints_are_told_apart(examples):
    places = {}
    for placement in PLACEMENTS:
        messages = agent_of(examples, hint_placement=placement).render(TASK, "My opening.", (), HINTS)
        text = text_of(messages)
        marks = {text.index(mark): mark for mark in ("Opening 2.", "Open it first.", "My opening.")}
        places[placement] = ("Open it first." in messages[0].content, [marks[at] for at in sorted(marks)])
    assert places == {
        "system": (True, ["Open it first.", "Opening 2.", "My opening."]),
        "before_examples": (False, ["Open it first.", "Opening 2.", "My opening."]),
        "after_examples": (False, ["Opening 2.", "Open it first.", "My opening."]),
        "user": (False, ["Opening 2.", "My opening.", "Open it first."]),
    }


@pytest.mark.parametrize("layout", ["chat", "transcript"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_students_prompt_has_no_trace_of_hints(examples, layout, placement):
    agent = agent_of(examples, layout=layout, hint_placement=placement)
    turns = [turn(1), turn(2)]
    given = (*HINTS, GivenHint(id="3", text="Look again.", turn=1))
    bare, hinted = (agent.render(TASK, "o", turns, hints) for hints in ((), given))
    assert bare == agent.render(TASK, "o", turns, [replace(hint, turn=None) for hint in given])
    lines = text_of(hinted).splitlines()
    for line in {agent.hint_header, *(f"- {hint.text}" for hint in given)}:
        assert lines.count(line) >= 1
        while line in lines:
            lines.remove(line)
    assert [line for line in lines if line] == [line for line in text_of(bare).splitlines() if line]


def test_a_late_hint_stands_behind_the_answer_before_its_reply(examples):
    agent = make_agent(AgentConfig(), "alfworld")
    late = [GivenHint(id="1", text="Open it.", turn=2), GivenHint(id="2", text="Wash it.", turn=2)]
    messages = agent.render(TASK, "o", [turn(1), turn(2), turn(3)], late)
    assert [m.content for m in messages if "Open it." in m.content] == [
        f"At desk 2.\n\n{agent.hint_header}\n- Open it.\n- Wash it."
    ]
    assert messages.index(next(m for m in messages if "Open it." in m.content)) == 5


whens = st.lists(st.one_of(st.none(), st.integers(0, 6)), max_size=4)


@given(
    whens=whens,
    name=st.sampled_from(["react", "act", "stateact"]),
    layout=st.sampled_from(["chat", "transcript"]),
    placement=st.sampled_from(PLACEMENTS),
    said=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=5),
)
def test_prompts_only_grow(examples, whens, name, layout, placement, said):
    agent = agent_of(examples, name, layout=layout, hint_placement=placement)
    turns = [Turn(reply=reply, action="x", observation=answer) for reply, answer in said]
    hints = [GivenHint(id=str(n), text=f"Hint {n}.", turn=when) for n, when in enumerate(whens)]
    # At turn n only the hints of turns up to n are known: the loop decides on the others later.
    prompts = [
        agent.render(
            TASK,
            "o",
            turns[:n],
            [h if h.turn is not None and h.turn <= n else replace(h, turn=None) for h in hints],
        )
        for n in range(len(turns) + 1)
    ]
    assert prompts[-1] == agent.render(
        TASK, "o", turns, [h for h in hints if h.turn is None or h.turn <= len(turns)]
    )
    for shorter, longer in itertools.pairwise(prompts):
        if layout == "chat":
            assert longer[: len(shorter)] == shorter
        else:
            (before,), (after,) = shorter, longer
            assert after.content.startswith(before.content)
            assert len(after.content) > len(before.content)


def test_a_transcript_is_one_message_that_ends_with_the_mark():
    agent = make_agent(AgentConfig(layout="transcript"), "alfworld")
    (message,) = agent.render(TASK, "The opening.", [turn(1), replace(turn(2), reply="> go to desk 2")], ())
    assert message.role == "user"
    assert message.content == (
        f"{agent.prompt}\n\nThe opening.\n\n> go to desk 1\nAt desk 1.\n\n> go to desk 2\nAt desk 2.\n\n>"
    )


@pytest.mark.parametrize(
    "name, shown",
    [
        ("react", "> think: I see.\nOK.\n\n> go to desk 2\nDesk 2."),
        ("act", "Opening 2.\n\n> go to desk 2\nDesk 2."),
        (
            "stateact",
            "> goal: clean\nlocations visited: None\ncurrent location: bed 1\ncurrent inventory: mug 1\nthought: I see.\naction: go to desk 2\nDesk 2.",
        ),
    ],
)
def test_one_file_shows_every_agent_its_own_form(examples, name, shown):
    assert shown in text_of(agent_of(examples, name).render(TASK, "o", (), ()))


def test_a_task_is_shown_its_own_kind_first_and_never_itself(examples):
    agent = agent_of(examples)
    shown = text_of(agent.render(TASK, "o", (), ()))
    assert shown.index("Opening 2.") < shown.index("Opening 3.")
    assert "Opening 1." not in shown
    of_its_own = text_of(agent.render(example_of(2).task, "o", (), ()))
    assert "Opening 2." not in of_its_own
    assert of_its_own.index("Opening 3.") < of_its_own.index("Opening 1.")


def test_the_name_follows_the_examples_and_their_number(tmp_path, examples):
    write_examples([example_of(n) for n in range(5)], tmp_path / "others.jsonl")
    configs = [
        AgentConfig(),
        AgentConfig(shots=1, examples=examples),
        AgentConfig(shots=2, examples=examples),
        AgentConfig(shots=2, examples=str(tmp_path / "others.jsonl")),
    ]
    assert len({make_agent(config, "alfworld").name for config in configs}) == 4
    # A file that is named and not shown decides nothing.
    unused = AgentConfig(examples=examples)
    assert make_agent(unused, "alfworld").name == make_agent(AgentConfig(), "alfworld").name


@pytest.mark.parametrize(
    "rows, message",
    [
        ([example_of(1), example_of(2)], "holds 2 examples, but agent.shots = 2 wants one more"),
        ([example_of(n, split="test") for n in range(3)], "train tasks alone"),
        ([example_of(n, env="webshop") for n in range(3)], "the study plays 'alfworld'"),
        (
            [replace(example_of(n), steps=(replace(example_of(n).steps[0], fields=()),)) for n in range(3)],
            "does not say 'current_inventory'",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, rows, message):
    write_examples(rows, tmp_path / "e.jsonl")
    with pytest.raises(ValueError, match=message):
        make_agent(AgentConfig(name="stateact", shots=2, examples=str(tmp_path / "e.jsonl")), "alfworld")


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "line 1 is no example"),
        ("[]", "is no example"),
        ('{"version": 9}', "version 9"),
        (None, "cannot read"),
    ],
)
def test_a_broken_file_says_where(tmp_path, text, message):
    path = tmp_path / "e.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        make_agent(AgentConfig(shots=1, examples=str(path)), "alfworld")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"shots": 1}, "shots = 1 wants a file"),
        ({"hint_placement": "after_examples"}, "shots = 0 shows no examples"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        AgentConfig(**settings)
