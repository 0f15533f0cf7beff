"""Households made up from `catalogue`: all six task kinds, each solvable, in the shape of the release's games.

Train and test never share a room layout: the list of a room's receptacles, as the player reads it, decides by its hash which
side it is on, so the sides stay apart whatever the seed. Knows nothing of models or hints.
"""

import hashlib
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envs.alfworld.catalogue import (
    ALWAYS_OPENABLE,
    CAN_CONTAIN,
    CLEANABLE,
    COOLABLE,
    FIRST_SCENE,
    FIXED,
    HEATABLE,
    LAMP_STANDS,
    OFTEN_OPENABLE,
    RECEPTACLE_TYPES,
    ROOMS,
    THING_TYPES,
    THINGS_OF_ROOM,
    WRITTEN,
    lookalikes_of,
    traits_of,
)
from envs.alfworld.game import KINDS, Game, Goal, Receptacle, Thing
from envs.alfworld.problem import write_games
from envs.alfworld.world import World
from envs.base import EnvError

log = logging.getLogger(__name__)

Rooms = Literal["small", "full", "crowded", "mixed"]
"""`small`: four to nine places and few things. `full`: as the release has them. `crowded`: four or five places, full of things.
`mixed`: one in five is full, the rest small."""
Side = Literal["train", "test"]
SPLIT_OF_SIDE: dict[Side, str] = {"train": "train", "test": "valid_unseen"}
"""Folder names of the release."""
TEST_SHARE = 4
"""One layout in so many is a test layout."""
_FEWEST_PLACES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeGame:
    game: Game
    walkthrough: tuple[str, ...]
    """A plan that was replayed and won."""
    room: str


def make_game(
    rng: random.Random, *, rooms: Rooms = "mixed", side: Side = "train", kind: str | None = None
) -> MadeGame:
    """One household with one task. Draws until layout, placement and plan fit together (a few tries at most)."""
    kind = kind or rng.choice(KINDS)
    if rooms == "mixed":
        rooms = "full" if rng.random() < 0.2 else "small"
    while True:
        made = _try_game(rng, kind, rooms, side)
        if made is not None:
            return made


def make_games(seed: int, num_games: int, *, side: Side, rooms: Rooms = "mixed") -> Iterator[MadeGame]:
    """`num_games` different households, the six kinds in turn. The same arguments give the same games."""
    rng = random.Random(f"households-{seed}-{side}-{rooms}")
    known: set[str] = set()
    number = 0
    while number < num_games:
        made = make_game(rng, rooms=rooms, side=side, kind=KINDS[number % len(KINDS)])
        if made.game.sha256 not in known and made.game.path not in known:
            known |= {made.game.sha256, made.game.path}
            number += 1
            yield made


def generate_splits(
    out: Path,
    *,
    seed: int = 0,
    train: int = 480,
    test: int = 240,
    rooms: Rooms = "small",
    files: bool = False,
) -> dict[str, int]:
    """Write `train` and `test` games below `out`: compact `train.jsonl` and `valid_unseen.jsonl`, or with `files` a
    `game.tw-pddl` for each, as in the release. Returns the number of games of each split's folder name."""
    if min(train, test) < 0 or train + test == 0:
        raise EnvError(f"cannot generate {train} train and {test} test games; ask for at least one game")
    sizes: dict[Side, int] = {"train": train, "test": test}
    sides: tuple[Side, Side] = ("train", "test")
    for side in sides:
        made = make_games(seed, sizes[side], side=side, rooms=rooms)
        write_games(out, SPLIT_OF_SIDE[side], ((m.game, m.walkthrough) for m in made), files=files)
    log.info("%s: %d train games, %d test games, seed %d, %s rooms", out, train, test, seed, rooms)
    return {SPLIT_OF_SIDE[side]: size for side, size in sizes.items()}


def generate(
    out: Path, *, seed: int, games: int, rooms: Rooms = "mixed", files: bool = False
) -> dict[str, int]:
    """`generate_splits` with a third of the games for the test side."""
    test = games // 3
    return generate_splits(out, seed=seed, train=games - test, test=test, rooms=rooms, files=files)


def solve(game: Game) -> tuple[str, ...] | None:
    """The plan of someone who knows where all is; None where there is none or it does not win."""
    world = World(game)
    plan = _Plan(world)
    goal = game.goal
    target = next((i for i, r in enumerate(game.receptacles) if r.type == goal.receptacle_type), None)
    wanted = [i for i, t in enumerate(game.things) if t.type == goal.object_type and t.inside]
    count = 2 if goal.kind == "pick_two_obj_and_place" else 1
    if len(wanted) < count:
        return None
    for thing in wanted[:count]:
        plan.fetch(thing)
        if goal.kind == "look_at_obj_in_light":
            plan.use_lamp(goal.lamp_type)
            continue
        if goal.kind in TREATMENTS:
            plan.treat(thing, *TREATMENTS[goal.kind])
        if target is None:
            return None
        plan.place(thing, target)
    return tuple(plan.commands) if world.done else None


TREATMENTS = {
    "pick_clean_then_place_in_recep": ("clean", "sinkbasin"),
    "pick_heat_then_place_in_recep": ("heat", "microwave"),
    "pick_cool_then_place_in_recep": ("cool", "fridge"),
}
"""Kind -> what to do with the thing, and where."""


class _Plan:
    """Commands as they are played."""

    def __init__(self, world: World):
        self.world = world
        self.commands: list[str] = []

    def do(self, command: str) -> None:
        self.commands.append(command)
        self.world.step(command)

    def reach(self, receptacle: int, *, inside: bool) -> None:
        place = self.world.game.receptacles[receptacle]
        if place.location != self.world.location:
            self.do(f"go to {place.name}")
        if inside and place.openable and not self.world.opened[receptacle]:
            self.do(f"open {place.name}")

    def fetch(self, thing: int) -> None:
        holder = next(r for r, things in enumerate(self.world.contents) if thing in things)
        self.reach(holder, inside=True)
        self.do(f"take {self.world.game.things[thing].name} from {self.world.game.receptacles[holder].name}")

    def treat(self, thing: int, verb: str, appliance: str) -> None:
        at = next(i for i, r in enumerate(self.world.game.receptacles) if r.type == appliance)
        self.reach(at, inside=False)
        self.do(f"{verb} {self.world.game.things[thing].name} with {self.world.game.receptacles[at].name}")

    def place(self, thing: int, target: int) -> None:
        self.reach(target, inside=True)
        self.do(f"move {self.world.game.things[thing].name} to {self.world.game.receptacles[target].name}")

    def use_lamp(self, lamp_type: str) -> None:
        game = self.world.game
        lamp = next(i for i, t in enumerate(game.things) if t.type == lamp_type and t.inside)
        holder = next(r for r, things in enumerate(self.world.contents) if lamp in things)
        self.reach(holder, inside=False)
        self.do(f"use {game.things[lamp].name}")


def _goals_of_room(room: str, kind: str) -> list[tuple[str, str]]:
    """(object type, receptacle type) pairs that make sense in a room; the receptacle is "" for the lamp."""
    pool = {
        "pick_clean_then_place_in_recep": CLEANABLE,
        "pick_heat_then_place_in_recep": HEATABLE,
        "pick_cool_then_place_in_recep": COOLABLE,
    }.get(kind, frozenset(THING_TYPES))
    objects = sorted((THINGS_OF_ROOM[room] & pool) - FIXED)
    sources = {o: [r for r in ROOMS[room] if o in CAN_CONTAIN[r]] for o in objects}
    if kind == "look_at_obj_in_light":
        return [(o, "") for o in objects if sources[o]]
    appliance = TREATMENTS[kind][1] if kind in TREATMENTS else ""
    if appliance and appliance not in ROOMS[room]:
        return []
    return [(o, r) for o in objects for r in sources[o] if r != appliance and len(sources[o]) > 1]


_GOALS = {(room, kind): _goals_of_room(room, kind) for room in ROOMS for kind in KINDS}
_GOALS |= {(room, "look_at_obj_in_light"): [] for room in ("kitchen", "bathroom")}
_ROOMS_OF_KIND = {kind: [room for room in ROOMS if _GOALS[room, kind]] for kind in KINDS}


def layout_side(names: Sequence[str]) -> Side:
    """Which side a layout belongs to, whoever draws it."""
    digest = hashlib.sha256("|".join(sorted(names)).encode()).digest()
    return "test" if digest[0] % TEST_SHARE == 0 else "train"


def _try_game(rng: random.Random, kind: str, rooms: Rooms, side: Side) -> MadeGame | None:
    room = rng.choice(_ROOMS_OF_KIND[kind])
    object_type, target_type = _draw_goal(rng, room, kind)
    if rooms == "full":
        counts = _full_room(rng, room)
    else:
        counts = _small_room(rng, room, (2, 4) if rooms == "crowded" else (3, 8))
    for needed in (target_type, TREATMENTS[kind][1] if kind in TREATMENTS else ""):
        if needed:
            counts[needed] = max(1, counts.get(needed, 0))
    if kind == "look_at_obj_in_light" and not any(stand in counts for stand in LAMP_STANDS):
        counts[rng.choice([stand for stand in LAMP_STANDS if stand in ROOMS[room]])] = 1
    names = [f"{kind_} {n}" for kind_, count in counts.items() for n in range(1, count + 1)]
    if len(names) < _FEWEST_PLACES or layout_side(names) != side:
        return None
    receptacles = [_receptacle(rng, r, n) for r, count in counts.items() for n in range(count)]
    things = _place_things(rng, room, kind, object_type, target_type, receptacles, rooms != "small")
    if things is None:
        return None
    scene = 1000 + FIRST_SCENE[room] + int(hashlib.sha256("|".join(names).encode()).hexdigest()[:6], 16) % 100
    goal = Goal(
        kind=kind,
        object_type=object_type,
        receptacle_type=target_type,
        lamp_type="desklamp" if kind == "look_at_obj_in_light" else "",
    )
    game = Game.build(
        path=_path(rng, goal, scene, side),
        task=_sentence(rng, goal),
        goal=goal,
        start="loc_bar_0_bar_0_bar_0_bar_0",
        receptacles=receptacles,
        things=things,
        can_contain=CAN_CONTAIN,
    )
    if World(game).done:
        return None
    plan = solve(game)
    return MadeGame(game=game, walkthrough=plan, room=room) if plan else None


def _draw_goal(rng: random.Random, room: str, kind: str) -> tuple[str, str]:
    """The object first, so that things that fit everywhere do not crowd out the rest."""
    goals = _GOALS[room, kind]
    object_type = rng.choice(sorted({o for o, _ in goals}))
    return object_type, rng.choice([r for o, r in goals if o == object_type])


def _full_room(rng: random.Random, room: str) -> dict[str, int]:
    counts = {r: rng.randint(low, high) for r, (low, high) in ROOMS[room].items()}
    return {r: n for r, n in counts.items() if n}


def _small_room(rng: random.Random, room: str, draws: tuple[int, int]) -> dict[str, int]:
    """Fewest and most draws of a receptacle; the needed ones come on top. Closed ones are common."""
    limits = ROOMS[room]
    kinds = [r for r, (low, high) in limits.items() for _ in range(1 + (high > 3) * 2 + (high > 1))]
    counts: dict[str, int] = {}
    for _ in range(rng.randint(*draws)):
        r = rng.choice(kinds)
        counts[r] = min(limits[r][1], counts.get(r, 0) + 1)
    return counts


def _coordinates(rng: random.Random) -> str:
    return "_bar_".join(
        f"_{'plus' if v >= 0 else 'minus'}_{abs(v) // 100:02d}_dot_{abs(v) % 100:02d}"
        for v in (rng.randint(-399, 399), rng.randint(0, 220), rng.randint(-399, 399))
    )


def _receptacle(rng: random.Random, kind: str, number: int) -> Receptacle:
    stem = {"sinkbasin": "sink", "bathtubbasin": "bathtub"}.get(kind, kind)
    entity = f"{stem}_bar_{_coordinates(rng)}" + (f"_bar_{kind}" if stem != kind else "")
    openable = kind in ALWAYS_OPENABLE or (kind in OFTEN_OPENABLE and rng.random() < 0.92)
    # One place, one location: nothing hangs on two receptacles sharing a spot, and plans stay plain.
    location = f"loc_bar_{RECEPTACLE_TYPES.index(kind) + 1}_bar_{number + 1}_bar_{rng.randint(0, 3)}_bar_30"
    return Receptacle(entity, kind, location, openable)


def _place_things(
    rng: random.Random,
    room: str,
    kind: str,
    object_type: str,
    target_type: str,
    receptacles: list[Receptacle],
    many: bool,
) -> list[Thing] | None:
    room_left = {r.id: rng.randint(4, 7) if r.type in _BROAD else 3 for r in receptacles}
    things: list[Thing] = []

    def put(thing_type: str, places: list[Receptacle]) -> bool:
        free = [r for r in places if room_left[r.id] > 0]
        if not free:
            return False
        chosen = rng.choice(free)
        room_left[chosen.id] -= 1
        things.append(
            Thing(f"{thing_type}_bar_{_coordinates(rng)}", thing_type, (chosen.id,), traits_of(thing_type))
        )
        return True

    homes = [r for r in receptacles if object_type in CAN_CONTAIN[r.type] and r.type != target_type]
    count = 2 if kind == "pick_two_obj_and_place" else 1
    for _ in range(count + (rng.random() < 0.2)):
        if not put(object_type, homes):
            return None
    if kind == "look_at_obj_in_light" and not put(
        "desklamp", [r for r in receptacles if r.type in LAMP_STANDS]
    ):
        return None
    if rng.random() < 0.6:
        for thing_type in (
            rng.sample(sorted(lookalikes_of(object_type)), 1) if lookalikes_of(object_type) else []
        ):
            put(thing_type, [r for r in receptacles if thing_type in CAN_CONTAIN[r.type]])
    kinds = sorted(THINGS_OF_ROOM[room] - {object_type, "desklamp"})
    for _ in range(rng.randint(14, 34) if many else rng.randint(2, 8)):
        thing_type = rng.choice(kinds)
        stands = (*LAMP_STANDS, "countertop", "diningtable") if thing_type in FIXED else ()
        put(thing_type, [r for r in receptacles if thing_type in CAN_CONTAIN[r.type] or r.type in stands])
    return things if len({t.id for t in things}) == len(things) else None


_BROAD = frozenset({"countertop", "diningtable", "sidetable", "desk", "dresser", "coffeetable"})


def _path(rng: random.Random, goal: Goal, scene: int, side: Side) -> str:
    where = WRITTEN[goal.lamp_type or goal.receptacle_type]
    trial = f"trial_T2{rng.randrange(10**7):07d}_{rng.randrange(10**6):06d}_{rng.randrange(10**6):06d}"
    return f"{SPLIT_OF_SIDE[side]}/{goal.kind}-{WRITTEN[goal.object_type]}-None-{where}-{scene}/{trial}"


_SENTENCES = {
    "pick_and_place_simple": ("put a {o} in {r}.", "put some {o} on {r}."),
    "look_at_obj_in_light": ("look at {o} under the {l}.", "examine the {o} with the {l}."),
    "pick_clean_then_place_in_recep": ("put a clean {o} in {r}.", "clean some {o} and put it in {r}."),
    "pick_heat_then_place_in_recep": ("put a hot {o} in {r}.", "heat some {o} and put it in {r}."),
    "pick_cool_then_place_in_recep": ("put a cool {o} in {r}.", "cool some {o} and put it in {r}."),
    "pick_two_obj_and_place": ("put two {o} in {r}.", "find two {o} and put them in {r}."),
}


def _sentence(rng: random.Random, goal: Goal) -> str:
    return rng.choice(_SENTENCES[goal.kind]).format(
        o=goal.object_type, r=goal.receptacle_type, l=goal.lamp_type
    )
