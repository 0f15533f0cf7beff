"""A successful episode as the student's training conversation: rendered again as if there had never been a hint."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from actors.agents.base import Agent
from actors.chat import Message
from actors.trajectory import EndReason, Trajectory


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


def strip(trajectory: Trajectory, agent: Agent, *, keep_hints: bool = False) -> dict[str, Any]:
    """A row of `SFT_SCHEMA`: the prompts that the student is evaluated with, and what the episode's player answered.

    Ends with the last reply; what the world said after it is nothing to learn from. `keep_hints`: the prompts that the player saw.
    """
    hints = trajectory.hints if keep_hints else ()
    messages = agent.render(trajectory.task, trajectory.opening, trajectory.turns, hints)
    return {
        "messages": [{"role": m.role, "content": m.content} for m in _until_last_reply(messages)],
        "task_id": trajectory.task.key,
        "trajectory_id": trajectory.id,
        "arm": trajectory.arm,
        "seed": trajectory.seed,
    }


def hint_block_lines(trajectory: Trajectory, agent: Agent) -> frozenset[str]:
    """The lines that its hints alone bring into a prompt, whenever they were shown: the block's header and its entries."""
    from_the_start = [replace(hint, turn=0) for hint in trajectory.hints]
    hinted = agent.render(trajectory.task, trajectory.opening, (), from_the_start)
    bare = agent.render(trajectory.task, trajectory.opening, (), ())
    return frozenset(_lines(hinted) - _lines(bare))


def _until_last_reply(messages: Sequence[Message]) -> Sequence[Message]:
    last = max(i for i, message in enumerate(messages) if message.role == "assistant")
    return messages[: last + 1]


def _lines(messages: Sequence[Message]) -> set[str]:
    return {line.strip() for message in messages for line in message.content.splitlines() if line.strip()}
