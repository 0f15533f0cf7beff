"""Plays a household with given habits, from what it has read alone. Knows nothing of advice, models or tokens.

Without mistakes in reading: every way in which it fails is the lack of a habit. It looks for the thing in the order in which the
opening names the places, and remembers what it saw. On request it slips now and then and mends it: who learns from it slips as
well, and must know how to go on.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass

from actors.trajectory import Turn
from distill.pocket.habits import Habit
from envs.alfworld.catalogue import CAN_CONTAIN, OFTEN_OPENABLE
from envs.alfworld.game import Game
from envs.alfworld.generate import TREATMENTS
from envs.alfworld.world import BANNER, NOTHING_HAPPENS, World

THOUGHT_ANSWER = "OK."
_SMALL = 10
"""Most places of a room that is simply searched from the first to the last."""
_LOOP = 3
"""Places that a player who does not keep track goes round and round."""
_IDLE = 2
"""How often it looks about when it believes that all is done."""
_STUBBORN = 3
"""How often it says again what did not work."""
SLIPS = 0.05
"""Share of steps before which a slip is made, where slips are asked for."""
_ADJECTIVE = {"clean": "clean", "heat": "hot", "cool": "cool"}


class _EndOfEpisodeError(Exception):
    """The world is solved or the step limit is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    opening: str
    turns: tuple[Turn, ...]
    success: bool
    slips: frozenset[int] = frozenset()
    """Numbers of the turns that nobody should learn."""


def demonstrate(
    game: Game, habits: Collection[Habit], *, max_steps: int, slips: random.Random | None = None
) -> Demonstration:
    """One episode; with `slips`, a source of chance, the player makes some and mends them."""
    player = _Player(game, habits, max_steps, slips)
    try:
        player.play()
    except _EndOfEpisodeError:
        pass
    return Demonstration(
        opening=player.opening,
        turns=tuple(player.turns),
        success=player.world.done,
        slips=frozenset(player.slipped),
    )


def thought_turn(thought: str) -> Turn:
    """A thought as ReAct says and records it, `think: ` in front."""
    return Turn(
        reply=thought,
        fields=(("thought", thought.removeprefix("think: ")),),
        action=None,
        observation=THOUGHT_ANSWER,
    )


class _Player:
    def __init__(
        self, game: Game, habits: Collection[Habit], max_steps: int, chance: random.Random | None = None
    ):
        self.game, self.habits, self.max_steps, self.chance = game, habits, max_steps, chance
        self.world = World(game)
        self.opening = self.world.reset().removeprefix(BANNER)
        self.turns: list[Turn] = []
        self.slipped: list[int] = []
        self.steps = 0
        self.order = self._search_order()
        self.searched = 0
        """Places of the search order that were looked at, counting every visit."""
        self.seen: dict[int, int] = {}
        """Thing -> receptacle where it was last seen."""

    def play(self) -> None:
        goal = self.game.goal
        own = TREATMENTS.get(goal.kind)
        treats = (
            own is not None
            and {
                "clean": Habit.CLEAN_FIRST,
                "heat": Habit.HEAT_FIRST,
                "cool": Habit.COOL_FIRST,
            }[own[0]]
            in self.habits
        )
        both = goal.kind == "pick_two_obj_and_place" and Habit.SECOND_ONE in self.habits
        lights = goal.kind == "look_at_obj_in_light" and Habit.USE_LAMP in self.habits
        self._think(treats, both, lights)
        for _ in range(2 if both else 1):
            thing = self._find_and_take()
            if thing is None:
                break
            if goal.kind == "look_at_obj_in_light":
                self._use_lamp() if lights else self._do(f"examine {self.game.things[thing].name}")
                break
            if treats and own is not None:
                self._treat(thing, *own)
            self._place(thing)
        for _ in range(_IDLE):
            self._do("look")

    # What it says

    def _think(self, treats: bool, both: bool, lights: bool) -> None:
        goal = self.game.goal
        number = "two" if both else "a"
        adjective = f" {_ADJECTIVE[TREATMENTS[goal.kind][0]]}" if treats else ""
        aim = f"for the {goal.receptacle_type}" if goal.receptacle_type else ""
        if lights:
            aim = f"and the {goal.lamp_type}"
        search = "I look inside." if Habit.OPEN_CONTAINERS in self.habits else "I look around."
        choice = "I take only that." if Habit.TAKE_NAMED in self.habits else "I take the first."
        thought = f"think: I need {number}{adjective} {goal.object_type}{' ' + aim if aim else ''}. {search} {choice}"
        self.turns.append(thought_turn(thought))

    def _do(self, command: str) -> bool:
        """Play a command; False where nothing happened."""
        if self.steps >= self.max_steps:
            raise _EndOfEpisodeError
        observation = self.world.step(command)
        self.steps += 1
        self.turns.append(
            Turn(reply=command, action=command, observation=observation, valid=observation != NOTHING_HAPPENS)
        )
        self._remember()
        if self.world.done:
            raise _EndOfEpisodeError
        return observation != NOTHING_HAPPENS

    def _insist(self, command: str) -> bool:
        """Play a command; who lacks the habit says it again and again when it fails, to the end of the episode."""
        if self._do(command):
            return True
        if Habit.NO_REPEAT not in self.habits:
            for _ in range(_STUBBORN):
                self._do(command)
            raise _EndOfEpisodeError
        return False

    # How it slips

    def _slips(self) -> bool:
        return self.chance is not None and self.chance.random() < SLIPS

    def _slip(self, command: str) -> None:
        self.slipped.append(len(self.turns))
        self._do(command)

    def _lose_the_way(self, goal: int) -> None:
        """Instead of to `goal`, go to a place that is not there or to one that was looked at before."""
        assert self.chance is not None
        places = self.game.receptacles
        known = [
            places[i]
            for i in self.order[: self.searched]
            if i != goal and places[i].location != self.world.location
        ]
        if known and self.chance.random() < 0.5:
            self._slip(f"go to {self.chance.choice(known).name}")
            return
        names = {r.name for r in places}
        other = self.chance.choice([r.type for r in places] + list(CAN_CONTAIN))
        absent = next(name for n in range(1, 99) if (name := f"{other} {n}") not in names)
        self._slip(f"go to {absent}")

    def _take_another(self, r: int, wanted: int | None) -> None:
        """Take what is not there, or not asked for; the latter is put back by who knows how."""
        assert self.chance is not None
        place = self.game.receptacles[r].name
        others = [
            i for i in self.world.contents[r] if "pickupable" in self.game.things[i].traits and i != wanted
        ]
        if others and Habit.MOVE_NOT_PUT in self.habits and self.chance.random() < 0.7:
            name = self.game.things[self.chance.choice(others)].name
            self._slip(f"take {name} from {place}")
            self._do(f"move {name} to {place}")
            return
        name = f"{self.game.goal.object_type} {self.chance.randint(1, 3)}"
        if name not in {self.game.things[i].name for i in self.world.contents[r]}:
            self._slip(f"take {name} from {place}")

    # What it sees

    def _remember(self) -> None:
        for r in self.world.here:
            if self._inside_visible(r):
                for thing in self.world.contents[r]:
                    self.seen[thing] = r

    def _inside_visible(self, r: int) -> bool:
        return self.world.opened[r] or not self.game.receptacles[r].openable

    # What it does

    def _search_order(self) -> list[int]:
        """All places in the order of the opening; in a large room from the first open one that may hold the thing, round the end."""
        places = self.game.receptacles
        wanted = self.game.goal.object_type
        likely = [
            i
            for i, r in enumerate(places)
            if wanted in CAN_CONTAIN.get(r.type, ()) and r.type not in OFTEN_OPENABLE
        ]
        start = likely[0] if likely and len(places) > _SMALL else 0
        return [*range(start, len(places)), *range(start)]

    def _next_place(self) -> int | None:
        if Habit.LOOK_ONCE in self.habits:
            index = self.searched
        else:
            index = self.searched % _LOOP
        self.searched += 1
        return self.order[index] if index < len(self.order) else None

    def _go_to(self, r: int) -> None:
        if self.game.receptacles[r].location != self.world.location:
            if self._slips():
                self._lose_the_way(r)
            self._do(f"go to {self.game.receptacles[r].name}")

    def _visit(self, r: int) -> None:
        self._go_to(r)
        if not self._inside_visible(r) and Habit.OPEN_CONTAINERS in self.habits:
            self._do(f"open {self.game.receptacles[r].name}")

    def _candidate(self, r: int) -> int | None:
        """The thing to take from a place before one's eyes: the one that is named, or whatever comes first."""
        if not self._inside_visible(r):
            return None
        goal = self.game.goal
        things = [i for i in self.world.contents[r] if "pickupable" in self.game.things[i].traits]
        if Habit.TAKE_NAMED not in self.habits:
            return things[0] if things else None
        return next((i for i in things if self.game.things[i].type == goal.object_type), None)

    def _find_and_take(self) -> int | None:
        goal = self.game.goal
        known = [
            r
            for i, r in self.seen.items()
            if self.game.things[i].type == goal.object_type
            and self.game.receptacles[r].type != goal.receptacle_type
            and i in self.world.contents[r]
        ]
        place = known[0] if known else self._next_place()
        while place is not None:
            self._visit(place)
            thing = self._candidate(place)
            if Habit.TAKE_NAMED in self.habits and self._inside_visible(place) and self._slips():
                self._take_another(place, thing)
            target_place = self.game.receptacles[place].type == goal.receptacle_type
            if thing is not None and not target_place:
                self._do(f"take {self.game.things[thing].name} from {self.game.receptacles[place].name}")
                return thing
            place = self._next_place()
        return None

    def _treat(self, thing: int, verb: str, appliance: str) -> None:
        at = next(i for i, r in enumerate(self.game.receptacles) if r.type == appliance)
        self._go_to(at)
        self._insist(f"{verb} {self.game.things[thing].name} with {self.game.receptacles[at].name}")

    def _place(self, thing: int) -> None:
        target = next(
            i for i, r in enumerate(self.game.receptacles) if r.type == self.game.goal.receptacle_type
        )
        name, place = self.game.things[thing].name, self.game.receptacles[target].name
        self._go_to(target)
        if not self._inside_visible(target) and Habit.OPEN_TARGET in self.habits:
            self._do(f"open {place}")
        if Habit.MOVE_NOT_PUT not in self.habits:
            self._insist(f"put {name} in/on {place}")
        if not self._insist(f"move {name} to {place}") and not self._inside_visible(target):
            self._do(f"open {place}")
            self._insist(f"move {name} to {place}")

    def _use_lamp(self) -> None:
        lamp_type = self.game.goal.lamp_type
        while True:
            lamp = next((i for i in self.seen if self.game.things[i].type == lamp_type), None)
            if lamp is not None:
                self._go_to(self.seen[lamp])
                self._do(f"use {self.game.things[lamp].name}")
                return
            place = self._next_place()
            if place is None:
                return
            self._visit(place)


def rough_step_limit(rng: random.Random, num_places: int) -> int:
    """Training episodes are cut at different lengths, longer ones in larger rooms."""
    return rng.randint(16, 22) if num_places <= 10 else rng.randint(24, 40)
