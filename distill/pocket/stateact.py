"""Demonstrations told as StateAct tells them: where things stand in front of every command, the plan in front of the first one.

Knows nothing of advice, models or tokens.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from actors.agents.grammar import Grammar
from actors.agents.parsing import write_replies
from actors.trajectory import Turn
from distill.pocket.demonstrator import Demonstration


class State(Protocol):
    """How things stand, kept up command by command."""

    def fields(self) -> Mapping[str, str]:
        """By the grammar's names; "": nothing to say."""
        ...

    def follow(self, action: str) -> None:
        """An action that the world allowed."""
        ...


def restate(shown: Demonstration, goal: str, state: State, grammar: Grammar) -> Demonstration:
    """The same episode in the grammar of StateAct. A thought stands in the reply of the command after it; one that none follows is dropped."""
    turns: list[Turn] = []
    slips: set[int] = set()
    thought = ""
    for number, turn in enumerate(shown.turns):
        if turn.action is None:
            thought = dict(turn.fields)["thought"]
            continue
        fields = {"goal": goal, **state.fields(), "thought": thought}
        *_, (reply, _) = write_replies(grammar, fields, turn.action)
        if number in shown.slips:
            slips.add(len(turns))
        turns.append(replace(turn, reply=reply, fields=tuple((n, t) for n, t in fields.items() if t)))
        if turn.valid:
            state.follow(turn.action)
        thought = ""
    return replace(shown, turns=tuple(turns), slips=frozenset(slips))
