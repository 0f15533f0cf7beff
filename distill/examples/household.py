"""What a household's player knows and thinks before each action, by rules from what was done and read. Knows no agent's format.

The state is what the world allows to check: the places gone to, the one that was gone to last, and what is held.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from envs.task import Task

Played = Sequence[tuple[str, str]]
"""(action, observation) from the start on; the world refused none of the actions."""

_PAST = {"clean": "clean", "wash": "clean", "heat": "hot", "cool": "cold"}
_TREAT = re.compile(r"(clean|wash|heat|cool) (.+?)(?: with (.+))?")
_TAKE = re.compile(r"take (.+?)(?: from (.+))?")
_PUT = re.compile(r"(?:move|put|drop) (.+?)(?: (?:to|in/on|in|on) (.+))?")
_GO = re.compile(r"go to (.+)")
_USE = re.compile(r"use (.+)")


@dataclass(slots=True, kw_only=True)
class HouseholdState:
    """Grows with what is done."""

    location: str
    """Where the last `go to` led."""
    visited: list[str] = field(default_factory=list)
    """Every place gone to, in the order of the first time."""
    inventory: str = ""

    def fields(self) -> dict[str, str]:
        """As the grammars name them; "": nothing to say."""
        return {
            "locations_visited": ", ".join(self.visited),
            "current_location": self.location,
            "current_inventory": self.inventory,
        }

    def follow(self, action: str) -> None:
        """An action that the world allowed."""
        if gone := _GO.fullmatch(action):
            self.location = gone[1]
            self.visited += [gone[1]] * (gone[1] not in self.visited)
        elif taken := _TAKE.fullmatch(action):
            self.inventory = taken[1]
        elif _PUT.fullmatch(action):
            self.inventory = ""


def narrate(task: Task, played: Played, *, start: str = "starting location") -> list[dict[str, str]]:
    """The fields of each step's reply, "" for nothing to say."""
    state = HouseholdState(location=start)
    actions = [action for action, _ in played]
    told = []
    for number, action in enumerate(actions):
        told.append(
            {
                "goal": task.goal.rstrip(". "),
                **state.fields(),
                "thought": _thought(task, actions, number),
            }
        )
        state.follow(action)
    return told


def _thought(task: Task, actions: Sequence[str], number: int) -> str:
    """One at the beginning and one wherever a part of the task is done; "" in between."""
    if number == 0:
        return f"I have to {task.goal.rstrip('. ')}. {_looking_for(actions, 'First I look for', '')}".rstrip()
    if taken := _TAKE.fullmatch(actions[number]):
        return f"There is the {taken[1]}, which I take."
    before = actions[number - 1]
    if taken := _TAKE.fullmatch(before):
        return f"I hold the {taken[1]}. {_next_use(actions[number:])}".rstrip()
    if treated := _TREAT.fullmatch(before):
        return f"The {treated[2]} is {_PAST[treated[1]]} now. {_next_use(actions[number:])}".rstrip()
    if put := _PUT.fullmatch(before):
        more = _looking_for(actions[number:], "Now I look for", "another")
        return f"The {put[1]} is where it belongs, but the task wants more. {more}".rstrip()
    return ""


def _looking_for(actions: Sequence[str], begin: str, other: str) -> str:
    taken = next((found for action in actions if (found := _TAKE.fullmatch(action))), None)
    if taken is None:
        return ""
    name = _type_of(taken[1])
    return f"{begin} {other or ('an' if name[0] in 'aeiou' else 'a')} {name}."


def _next_use(actions: Sequence[str]) -> str:
    """What becomes of the thing in hand."""
    for action in actions:
        if treated := _TREAT.fullmatch(action):
            where = f" at the {treated[3]}" if treated[3] else ""
            return f"Next I {treated[1]} it{where}."
        if put := _PUT.fullmatch(action):
            return f"Next I bring it to the {put[2]}." if put[2] else "Next I bring it back."
        if used := _USE.fullmatch(action):
            return f"Next I need the light of the {used[1]}."
    return ""


def _type_of(name: str) -> str:
    return re.sub(r"\s*\d+$", "", name)
