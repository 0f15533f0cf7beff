"""What the demonstrator does well or badly. Knows neither how it plays nor how advice is worded.

Without advice a habit depends on the thing that the task names: for a fixed part of all things it is usual, for the rest it is
rare, so that even greedy play fails at the same tasks each time. With advice it is nearly certain.
"""

import hashlib
import random
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from functools import cache

from envs.alfworld.catalogue import THING_TYPES


class Habit(StrEnum):
    OPEN_CONTAINERS = "open_containers"
    LOOK_ONCE = "look_once"
    TAKE_NAMED = "take_named"
    HEAT_FIRST = "heat_first"
    CLEAN_FIRST = "clean_first"
    COOL_FIRST = "cool_first"
    SECOND_ONE = "second_one"
    USE_LAMP = "use_lamp"
    OPEN_TARGET = "open_target"
    MOVE_NOT_PUT = "move_not_put"
    NO_REPEAT = "no_repeat"


HABIT_OF_KIND: Mapping[str, Habit | None] = {
    "pick_and_place_simple": None,
    "look_at_obj_in_light": Habit.USE_LAMP,
    "pick_clean_then_place_in_recep": Habit.CLEAN_FIRST,
    "pick_heat_then_place_in_recep": Habit.HEAT_FIRST,
    "pick_cool_then_place_in_recep": Habit.COOL_FIRST,
    "pick_two_obj_and_place": Habit.SECOND_ONE,
}
_SEARCHING = (Habit.OPEN_CONTAINERS, Habit.LOOK_ONCE, Habit.TAKE_NAMED, Habit.NO_REPEAT)
_PLACING = (Habit.OPEN_TARGET, Habit.MOVE_NOT_PUT)

SHARE_LACKING: Mapping[Habit, float] = {
    Habit.OPEN_CONTAINERS: 0.45,
    Habit.TAKE_NAMED: 0.30,
    Habit.HEAT_FIRST: 0.50,
    Habit.CLEAN_FIRST: 0.50,
    Habit.COOL_FIRST: 0.50,
    Habit.SECOND_ONE: 0.50,
    Habit.USE_LAMP: 0.50,
    Habit.LOOK_ONCE: 0.12,
    Habit.OPEN_TARGET: 0.18,
    Habit.MOVE_NOT_PUT: 0.10,
    Habit.NO_REPEAT: 0.25,
}
"""Share of things for which the habit is rare without advice."""
USUAL, RARE, ADVISED = 0.90, 0.08, 0.97


def habits_of_kind(kind: str) -> tuple[Habit, ...]:
    """Those that can matter in a task of this kind."""
    own = HABIT_OF_KIND[kind]
    placing = () if kind == "look_at_obj_in_light" else _PLACING
    return (*_SEARCHING, *placing, *((own,) if own else ()))


@cache
def lacking(habit: Habit) -> frozenset[str]:
    """The things for which this habit is rare: a fixed share, spread by hash."""
    # Balanced within each kind's own pool of things, so that no kind is all easy or all hard by luck.
    return spread_by_hash(habit, _pools(habit), SHARE_LACKING[habit])


def spread_by_hash(habit: str, pools: Iterable[Collection[str]], share: float) -> frozenset[str]:
    """The same share of every pool's members, which ones by hash."""
    chosen: set[str] = set()
    for pool in pools:
        ordered = sorted(pool, key=lambda t: hashlib.sha256(f"{habit}:{t}".encode()).digest())
        chosen.update(ordered[: round(len(ordered) * share)])
    return frozenset(chosen)


def _pools(habit: Habit) -> tuple[frozenset[str], ...]:
    from envs.alfworld.catalogue import CLEANABLE, COOLABLE, HEATABLE

    pool = {Habit.HEAT_FIRST: HEATABLE, Habit.CLEAN_FIRST: CLEANABLE, Habit.COOL_FIRST: COOLABLE}.get(habit)
    if pool is not None:
        return (frozenset(pool),)
    food_and_dishes = frozenset(HEATABLE | COOLABLE)
    return (food_and_dishes, frozenset(THING_TYPES) - food_and_dishes)


def probability(habit: Habit, object_type: str, advised: Collection[Habit]) -> float:
    if habit in advised:
        return ADVISED
    return RARE if object_type in lacking(habit) else USUAL


def draw_habits(rng: random.Random, object_type: str, advised: Collection[Habit]) -> frozenset[Habit]:
    """The habits of one episode."""
    return frozenset(h for h in Habit if rng.random() < probability(h, object_type, advised))
