"""Demonstrations told as StateAct tells them: where things stand in front of every command, the plan in front of the first one.

Both environments' states follow from what was said and answered alone. Knows nothing of advice, models or tokens.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from actors.agents.grammar import Grammar
from actors.agents.parsing import write_replies
from actors.trajectory import Turn
from distill.pocket.demonstrator import Demonstration


class State(Protocol):
    """What StateAct says beside thought and action, kept up turn by turn."""

    def fields(self) -> Mapping[str, str]:
        """By the grammar's names; "": nothing to say."""
        ...

    def follow(self, action: str) -> None:
        """An action that had an effect."""
        ...


@dataclass(slots=True)
class HouseholdState:
    goal: str
    visited: list[str] = field(default_factory=list)
    location: str = "starting location"
    held: str = ""

    def fields(self) -> Mapping[str, str]:
        return {
            "goal": self.goal,
            "locations_visited": ", ".join(self.visited),
            "current_location": self.location,
            "current_inventory": self.held,
        }

    def follow(self, action: str) -> None:
        verb, _, rest = action.partition(" ")
        if verb == "go":
            self.location = rest.removeprefix("to ")
            if self.location not in self.visited:
                self.visited.append(self.location)
        elif verb == "take":
            self.held = rest.partition(" from ")[0]
        elif verb in ("move", "put"):
            self.held = ""


@dataclass(slots=True)
class ShopState:
    goal: str
    location: str = "search page"
    chosen: list[str] = field(default_factory=list)

    def fields(self) -> Mapping[str, str]:
        return {
            "goal": self.goal,
            "current_location": self.location,
            "current_selection": ", ".join(self.chosen),
        }

    def follow(self, action: str) -> None:
        button = action.partition("[")[2].removesuffix("]")
        if action.startswith("search[") or button == "< Prev":
            self.location, self.chosen = "results page 1", []
        elif re.fullmatch(r"[A-Z0-9]{10}", button):
            self.location = f"item page {button}"
        else:
            self.chosen.append(button)


def restate(shown: Demonstration, state: State, grammar: Grammar) -> Demonstration:
    """The same episode in the grammar of StateAct. A thought stands in the reply of the command after it; one that none follows is dropped."""
    turns: list[Turn] = []
    slips: set[int] = set()
    thought = ""
    for number, turn in enumerate(shown.turns):
        if turn.action is None:
            thought = dict(turn.fields)["thought"]
            continue
        fields = {**state.fields(), "thought": thought}
        *_, (reply, _) = write_replies(grammar, fields, turn.action)
        if number in shown.slips:
            slips.add(len(turns))
        turns.append(replace(turn, reply=reply, fields=tuple((n, t) for n, t in fields.items() if t)))
        if turn.valid:
            state.follow(turn.action)
        thought = ""
    return replace(shown, turns=tuple(turns), slips=frozenset(slips))
