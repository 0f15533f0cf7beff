"""A successful episode as the student's training conversations: rendered again as if there had never been a hint."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from actors.agents.base import Agent
from actors.chat import Message
from actors.trajectory import EndReason, GivenHint, Trajectory


class RowFilter(BaseModel):
    """Which successes become rows. What is left out is counted by reason in the dataset's card."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_invalid: int | None = Field(default=None, ge=0)
    """Most actions that the world refused; None: any number."""
    max_steps: int | None = Field(default=None, ge=1)
    """Most actions; None: any number."""


def why_left_out(trajectory: Trajectory, filters: RowFilter = RowFilter()) -> str | None:
    """Why an episode does not become a row, in words that can be counted; None for one that does."""
    if trajectory.end is EndReason.ERROR:
        return "error of the machinery"
    if not trajectory.success:
        return "not a success"
    if not trajectory.turns:
        return "no turn: solved from the start"
    if any(not turn.reply.strip() for turn in trajectory.turns):
        return "an empty reply"
    if filters.max_invalid is not None and trajectory.num_invalid > filters.max_invalid:
        return f"more than {filters.max_invalid} refused actions"
    if filters.max_steps is not None and trajectory.num_steps > filters.max_steps:
        return f"more than {filters.max_steps} steps"
    return None


def strip(trajectory: Trajectory, agent: Agent, *, keep_hints: bool = False) -> list[dict[str, Any]]:
    """Rows of `SFT_SCHEMA`: the prompts that the student is evaluated with, and what the episode's player answered.

    One row where the prompts are turns of a chat, of which each is the beginning of the next. Where an episode is told in one message no
    prompt is the beginning of another as the chat template renders it: a row for every reply. Ends with the last reply; what the world said
    after it is nothing to learn from. `keep_hints`: the prompts that the player saw.
    """
    hints = trajectory.hints if keep_hints else ()
    return [
        {
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "task_id": trajectory.task.key,
            "trajectory_id": trajectory.id,
            "arm": trajectory.arm,
            "seed": trajectory.seed,
        }
        for messages in _conversations(trajectory, agent, hints)
    ]


def heard(trajectory: Trajectory, agent: Agent) -> str:
    """All that the student reads and nobody of the episode said: the bare prompt and the world's answers, up to the last reply."""
    prompt = agent.render(trajectory.task, trajectory.opening, (), ())
    return "\n".join([*(m.content for m in prompt), *(turn.observation for turn in trajectory.turns[:-1])])


def hint_block_lines(trajectory: Trajectory, agent: Agent) -> frozenset[str]:
    """The lines that its hints alone bring into a prompt, whenever they were shown: the block's header and its entries."""
    from_the_start = [replace(hint, turn=0) for hint in trajectory.hints]
    hinted = agent.render(trajectory.task, trajectory.opening, (), from_the_start)
    bare = agent.render(trajectory.task, trajectory.opening, (), ())
    return frozenset(_lines(hinted) - _lines(bare))


def _conversations(
    trajectory: Trajectory, agent: Agent, hints: Sequence[GivenHint]
) -> list[Sequence[Message]]:
    task, opening, turns = trajectory.task, trajectory.opening, trajectory.turns
    whole = agent.render(task, opening, turns, hints)
    if replies := [i for i, message in enumerate(whole) if message.role == "assistant"]:
        return [whole[: replies[-1] + 1]]
    return [
        (*agent.render(task, opening, turns[:n], hints), Message(role="assistant", content=turn.reply))
        for n, turn in enumerate(turns)
    ]


def _lines(messages: Sequence[Message]) -> set[str]:
    return {line.strip() for message in messages for line in message.content.splitlines() if line.strip()}
