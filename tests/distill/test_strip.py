"""A stripped row is what the student is asked at evaluation, word for word."""

from dataclasses import replace

import pytest

from actors.agents import make_agent
from actors.config import AgentConfig
from actors.trajectory import EndReason, Turn
from distill.strip import RowFilter, hint_block_lines, strip, why_left_out


@pytest.fixture
def agent():
    return make_agent(AgentConfig(), "alfworld")


@pytest.fixture
def taught(trajectory_of, panel_of):
    return trajectory_of(panel_of(1).tasks[0], arm="teacher")


def test_a_row_is_the_hint_free_render_up_to_the_last_reply(agent, taught):
    (row,) = strip(taught, agent)
    for n, turn in enumerate(taught.turns):
        # The prompt of every turn at evaluation, and what was answered to it.
        asked = agent.render(taught.task, taught.opening, taught.turns[:n], ())
        held = row["messages"][: len(asked)]
        assert held == [{"role": m.role, "content": m.content} for m in asked]
        assert row["messages"][len(asked)] == {"role": "assistant", "content": turn.reply}
    assert row["messages"][-1]["role"] == "assistant"
    assert (row["task_id"], row["trajectory_id"]) == (taught.task.key, taught.id)


def test_no_word_of_the_hint_block_is_left(agent, taught):
    hinted = agent.render(taught.task, taught.opening, taught.turns, taught.hints)
    assert taught.hints[0].text in hinted[0].content
    text = "\n".join(m["content"] for m in strip(taught, agent)[0]["messages"])
    for line in hint_block_lines(taught, agent):
        assert line not in text
    assert len(hint_block_lines(taught, agent)) == 2


def test_a_hint_that_came_late_or_never_is_looked_for_as_well(agent, taught):
    for when in (0, 2, None):
        hints = tuple(replace(hint, turn=when) for hint in taught.hints)
        assert hint_block_lines(replace(taught, hints=hints), agent) == hint_block_lines(taught, agent)
    late = replace(taught, hints=tuple(replace(hint, turn=2) for hint in taught.hints))
    assert strip(late, agent) == strip(taught, agent)
    kept = strip(late, agent, keep_hints=True)[0]["messages"]
    assert [i for i, m in enumerate(kept) if taught.hints[0].text in m["content"]] == [5]


def test_what_is_left_out_has_a_reason(trajectory_of, panel_of, taught):
    task = panel_of(1).tasks[0]
    refused = (*taught.turns, Turn(reply="x", action="x", observation="Nothing happens.", valid=False))
    empty = (*taught.turns, Turn(reply=" ", action=None, observation="?", valid=False))
    assert why_left_out(taught) is None
    assert why_left_out(trajectory_of(task, success=False)) == "not a success"
    assert why_left_out(trajectory_of(task, end=EndReason.ERROR)) == "error of the machinery"
    assert why_left_out(trajectory_of(task, turns=empty)) == "an empty reply"
    assert why_left_out(trajectory_of(task, turns=())) == "no turn: solved from the start"
    assert why_left_out(trajectory_of(task, turns=refused)) is None
    assert (
        why_left_out(trajectory_of(task, turns=refused), RowFilter(max_invalid=0))
        == "more than 0 refused actions"
    )
    assert why_left_out(taught, RowFilter(max_steps=2)) == "more than 2 steps"
