"""A game being played: the original's words to the byte, without its planner.

A `World` is small and belongs to one player; its `Game` is shared. What it knows (contents, opened, held, marks) is open
to demonstrators that may look behind the doors.
"""

from bisect import insort
from collections.abc import Callable, Sequence

from envs.alfworld.game import MARKS, Game

NOTHING_HAPPENS = "Nothing happens."
BANNER = "-= Welcome to TextWorld, ALFRED! =-\n\n"
HELP = """\
Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""
KNIVES = ("knife", "butterknife")
APPLIANCES = {"sink": "clean", "sinkbasin": "clean", "microwave": "heat", "fridge": "cool"}
"""Receptacle type -> what it does to the thing in hand."""

_ALWAYS = ("help", "inventory", "look")
_TRAIT_OF = {"clean": "cleanable", "heat": "heatable", "cool": "coolable"}
_WANTED_MARK = {
    "pick_clean_then_place_in_recep": ("cleanable", "clean"),
    "pick_heat_then_place_in_recep": ("heatable", "hot"),
    "pick_cool_then_place_in_recep": ("coolable", "cool"),
}


def listing(names: Sequence[str]) -> str:
    """ "a X, a Y, and a Z"; "nothing" for none; always "a", as the original says it."""
    if not names:
        return "nothing"
    if len(names) == 1:
        return f"a {names[0]}"
    return f"a {', a '.join(names[:-1])}, and a {names[-1]}"


Bound = tuple[Callable[["World", int, int], str], int, int]
"""What a command does, and the one or two indices that it does it to."""


class World:
    """Plays one game. Not thread-safe; a world in each thread is fine. Things and receptacles are indices into the game's tuples."""

    __slots__ = (
        "_actions",
        "_admissible",
        "_by_location",
        "_go",
        "_go_lists",
        "_goal_receptacles",
        "_goal_things",
        "_lamps",
        "_number",
        "_reachable",
        "contents",
        "done",
        "game",
        "held",
        "location",
        "marks",
        "opened",
        "valid",
    )

    contents: list[tuple[int, ...]]
    """[num_receptacles] Things in each receptacle, ascending."""
    opened: list[bool]
    """[num_receptacles]"""
    held: int | None
    location: str
    marks: dict[str, set[int]]
    """Mark ("clean", "hot", "cool", "sliced", "toggled") -> things that bear it."""
    done: bool
    """The goal holds now; a player who goes on may undo it, as in the original."""
    valid: bool
    """The last command did something (even looking)."""

    def __init__(self, game: Game) -> None:
        self.game = game
        goal = game.goal
        self._number = {r.id: i for i, r in enumerate(game.receptacles)}
        self._by_location: dict[str, tuple[int, ...]] = {}
        for i, receptacle in enumerate(game.receptacles):
            self._by_location[receptacle.location] = (*self._by_location.get(receptacle.location, ()), i)
        self._go = {f"go to {r.name}": i for i, r in enumerate(game.receptacles)}
        self._go_lists: dict[str, tuple[str, ...]] = {}
        wanted = _WANTED_MARK.get(goal.kind)
        self._goal_things = frozenset(
            i
            for i, t in enumerate(game.things)
            if t.type == goal.object_type and (wanted is None or wanted[0] in t.traits)
        )
        self._goal_receptacles = tuple(
            i for i, r in enumerate(game.receptacles) if r.type == goal.receptacle_type
        )
        self._lamps = frozenset(
            i for i, t in enumerate(game.things) if t.type == goal.lamp_type and "toggleable" in t.traits
        )
        self.reset()

    @property
    def here(self) -> tuple[int, ...]:
        """Receptacles at the agent's location, ascending; none at the start."""
        return self._by_location.get(self.location, ())

    @property
    def score(self) -> int:
        return 1 if self.done else 0

    @property
    def admissible(self) -> tuple[str, ...]:
        """Every command that would do something now, sorted as plain strings."""
        if not self._actions:
            self._list_actions()
        return self._admissible

    def reset(self) -> str:
        """Back to the beginning; the original's opening, banner and task included."""
        game = self.game
        contents: list[list[int]] = [[] for _ in game.receptacles]
        marks: dict[str, set[int]] = {mark: set() for mark in MARKS}
        reachable: dict[str, set[int]] = {}
        for i, thing in enumerate(game.things):
            for r in thing.inside:
                contents[self._number[r]].append(i)
            for mark in thing.marks:
                marks[mark].add(i)
            if "sliceable" in thing.traits:
                for place in thing.at or ():
                    reachable.setdefault(place, set()).add(i)
        self.contents = [tuple(things) for things in contents]
        self.opened = [r.opened for r in game.receptacles]
        self.marks = marks
        self._reachable = reachable
        self.held = None
        self.location = game.start
        self.valid = True
        self._actions: dict[str, Bound] = {}
        self._admissible: tuple[str, ...] = ()
        self.done = self._goal_holds()
        return f"{BANNER}You are in the middle of a room. Looking quickly around you, you see {listing([r.name for r in game.receptacles])}.\n\nYour task is to: {game.task}"

    def step(self, command: str) -> str:
        """Do `command` if it is admissible (white space around it is forgiven, nothing else) and say what the player sees."""
        command = command.strip()
        if not self._actions:
            self._list_actions()
        found = self._actions.get(command)
        if found is not None:
            self.valid = True
            return found[0](self, found[1], found[2])
        target = self._go.get(command)
        if target is not None and self.game.receptacles[target].location != self.location:
            self.valid = True
            return self._go_to(target)
        self.valid = False
        return NOTHING_HAPPENS

    def _list_actions(self) -> None:
        """Bind every command that is possible here and now; the way to elsewhere is the same from each visit to a place."""
        receptacles, things = self.game.receptacles, self.game.things
        held = self.held
        early: list[str] = []  # sorts before "go to"
        warm: list[str] = []  # "heat" stands between "go to" and "help"
        late: list[str] = []  # sorts after "look"
        actions: dict[str, Bound] = {
            "help": (World._help, 0, 0),
            "inventory": (World._inventory, 0, 0),
            "look": (World._look, 0, 0),
        }

        def offer(group: list[str], command: str, bound: Bound) -> None:
            if command not in actions:
                actions[command] = bound
                group.append(command)

        for r in self.here:
            _, kind, _, openable, _, name, *_ = receptacles[r]
            is_open = self.opened[r]
            offer(early, f"examine {name}", (World._examine_receptacle, r, 0))
            if openable:
                if is_open:
                    offer(early, f"close {name}", (World._close, r, 0))
                else:
                    offer(late, f"open {name}", (World._open, r, 0))
            within_reach = is_open or not openable
            if held is not None:
                thing = things[held]
                if within_reach and thing.type in self.game.can_contain[kind]:
                    offer(late, f"move {thing.name} to {name}", (World._move, held, r))
                verb = APPLIANCES.get(kind)
                if verb is not None and _TRAIT_OF[verb] in thing.traits:
                    treat = _TREAT[verb]
                    offer(
                        warm if verb == "heat" else early,
                        f"{verb} {thing.name} with {name}",
                        (treat, held, r),
                    )
            for i in self.contents[r]:
                thing = things[i]
                if held is None and within_reach and "pickupable" in thing.traits:
                    offer(late, f"take {thing.name} from {name}", (World._take, i, r))
                if "toggleable" in thing.traits:
                    offer(late, f"use {thing.name}", (World._use, i, 0))
        if held is not None:
            name = things[held].name
            offer(early, f"examine {name}", (World._examine_thing, held, 0))
            if things[held].type in KNIVES:
                for i in sorted(self._reachable.get(self.location, ())):
                    offer(late, f"slice {things[i].name} with {name}", (World._slice, i, held))
        early.sort()
        warm.sort()
        late.sort()
        self._actions = actions
        self._admissible = (*early, *self._ways(), *warm, *_ALWAYS, *late)

    def _ways(self) -> tuple[str, ...]:
        ways = self._go_lists.get(self.location)
        if ways is None:
            here = self.here
            ways = tuple(sorted(command for command, r in self._go.items() if r not in here))
            self._go_lists[self.location] = ways
        return ways

    def _changed(self) -> None:
        self._actions = {}
        self.done = self._goal_holds()

    def _goal_holds(self) -> bool:
        goal = self.game.goal
        if goal.kind == "look_at_obj_in_light":
            if self.held not in self._goal_things:
                return False
            lit = self._lamps & self.marks["toggled"]
            return bool(lit) and any(i in lit for r in self.here for i in self.contents[r])
        wanted = self._goal_things
        if goal.kind in _WANTED_MARK:
            wanted = wanted & self.marks[_WANTED_MARK[goal.kind][1]]
        needed = 2 if goal.kind == "pick_two_obj_and_place" else 1
        return len(wanted) >= needed and any(
            sum(i in wanted for i in self.contents[r]) >= needed for r in self._goal_receptacles
        )

    def _go_to(self, r: int) -> str:
        receptacle = self.game.receptacles[r]
        self.location = receptacle.location
        self._changed()
        return f"You arrive at {receptacle.name}. {self._describe(r)}"

    def _describe(self, r: int) -> str:
        receptacle = self.game.receptacles[r]
        if receptacle.openable and not self.opened[r]:
            return f"The {receptacle.name} is closed."
        things = self.game.things
        seen = listing([things[i].name for i in self.contents[r]])
        if receptacle.openable:
            return f"The {receptacle.name} is open. In it, you see {seen}."
        return f"On the {receptacle.name}, you see {seen}."

    def _examine_receptacle(self, r: int, _: int) -> str:
        return self._describe(r)

    def _open(self, r: int, _: int) -> str:
        self.opened[r] = True
        self._changed()
        return f"You open the {self.game.receptacles[r].name}. {self._describe(r)}"

    def _close(self, r: int, _: int) -> str:
        self.opened[r] = False
        self._changed()
        return f"You close the {self.game.receptacles[r].name}."

    def _take(self, i: int, r: int) -> str:
        self.contents[r] = tuple(other for other in self.contents[r] if other != i)
        self.held = i
        if "sliceable" in self.game.things[i].traits:
            self._reachable.get(self.location, set()).discard(i)
        self._changed()
        return f"You pick up the {self.game.things[i].name} from the {self.game.receptacles[r].name}."

    def _move(self, i: int, r: int) -> str:
        within = list(self.contents[r])
        if i not in within:
            insort(within, i)
            self.contents[r] = tuple(within)
        self.held = None
        if "sliceable" in self.game.things[i].traits:
            self._reachable.setdefault(self.location, set()).add(i)
        self._changed()
        return f"You move the {self.game.things[i].name} to the {self.game.receptacles[r].name}."

    def _clean(self, i: int, r: int) -> str:
        self.marks["clean"].add(i)
        self._changed()
        return self._treated("clean", i, r)

    def _heat(self, i: int, r: int) -> str:
        self.marks["hot"].add(i)
        self.marks["cool"].discard(i)
        self._changed()
        return self._treated("heat", i, r)

    def _cool(self, i: int, r: int) -> str:
        self.marks["cool"].add(i)
        self.marks["hot"].discard(i)
        self._changed()
        return self._treated("cool", i, r)

    def _treated(self, verb: str, i: int, r: int) -> str:
        return f"You {verb} the {self.game.things[i].name} using the {self.game.receptacles[r].name}."

    def _use(self, i: int, _: int) -> str:
        self.marks["toggled"].add(i)
        self._changed()
        return f"You turn on the {self.game.things[i].name}."

    def _slice(self, i: int, knife: int) -> str:
        self.marks["sliced"].add(i)
        self._changed()
        return f"You sliced the {self.game.things[i].name} with the {self.game.things[knife].name}."

    def _look(self, _: int, __: int) -> str:
        here = self.here
        if not here:
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        names = [self.game.receptacles[r].name for r in here]
        facing = names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, and {names[-1]}"
        return f"You are facing the {facing}. Next to it, you see nothing."

    def _inventory(self, _: int, __: int) -> str:
        if self.held is None:
            return "You are not carrying anything."
        return f"You are carrying: a {self.game.things[self.held].name}."

    def _help(self, _: int, __: int) -> str:
        return HELP

    def _examine_thing(self, i: int, _: int) -> str:
        thing = self.game.things[i]
        if "holder" in thing.traits:
            names = {t.id: t.name for t in self.game.things}
            return f"This is a normal {thing.name}. In it, you see {listing([names[inner] for inner in thing.contents])}."
        hot, cool, clean, sliced = (i in self.marks[mark] for mark in ("hot", "cool", "clean", "sliced"))
        if i in self.marks["toggled"] and not (hot or cool or clean):
            return f"This {thing.name} is on."
        warmth = "hot" if hot else ("cool" if clean or sliced else "cold") if cool else ""
        state = " and ".join(word for word in (warmth, "clean" if clean else "") if word)
        words = " ".join(word for word in (state, "sliced" if sliced else "", thing.name) if word)
        return f"This is a {words}." if state or sliced else f"There's nothing special about {words}."


_TREAT: dict[str, Callable[[World, int, int], str]] = {
    "clean": World._clean,
    "heat": World._heat,
    "cool": World._cool,
}
