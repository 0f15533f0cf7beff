"""One ALFWorld game as facts: what stands where, what may go where, and what the task asks. Nothing here moves.

A `Game` comes from the release's PDDL text or straight from facts; both roads give equal records, and `Game.sha256`
is the same for both. Types are lower-case without PDDL's "Type" ("sinkbasin", "apple").
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from envs.base import EnvError

KINDS = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
TRAITS = ("pickupable", "cleanable", "heatable", "coolable", "sliceable", "toggleable", "holder")
"""What never changes about a thing; `holder` is a thing that holds things, such as a bowl."""
MARKS = ("clean", "hot", "cool", "sliced", "toggled")
"""What actions do to a thing."""

_HASH_VERSION = "offbook-alfworld-1"


class Receptacle(NamedTuple):
    """Somewhere to put things. A tuple and no dataclass: a household of fifty is built in microseconds."""

    id: str
    type: str
    location: str
    openable: bool = False
    opened: bool = False
    name: str = ""
    """What the player reads, such as "cabinet 3"; filled in by `Game.build`."""


class Thing(NamedTuple):
    """Something that lies about."""

    id: str
    type: str
    """"" where the data leaves it open; such a thing can be taken but never put down."""
    inside: tuple[str, ...] = ()
    """Ids of the receptacles it is in: usually one, none for fixtures such as windows, up to four in the release."""
    traits: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    contents: tuple[str, ...] = ()
    """Ids of the things lying in this holder."""
    at: tuple[str, ...] | None = None
    """Locations within a knife's reach; None means those of `inside`."""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    kind: str
    """One of `KINDS`."""
    object_type: str
    receptacle_type: str = ""
    """Where it belongs; "" for look_at_obj_in_light."""
    lamp_type: str = ""
    """"desklamp" or "floorlamp" for look_at_obj_in_light."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """Immutable, shared by every world that plays it."""

    path: str
    """`split/task folder/trial` as in the release; the task's id."""
    task: str
    """The sentence that the player reads, such as "put a hot apple in fridge."."""
    goal: Goal
    start: str
    """The agent's first location."""
    receptacles: tuple[Receptacle, ...]  # [num_receptacles], by ascending id
    things: tuple[Thing, ...]  # [num_things], by ascending id
    can_contain: Mapping[str, frozenset[str]]
    """Receptacle type -> types of this game's things that may be put there."""

    @property
    def kind(self) -> str:
        return self.goal.kind

    @property
    def sha256(self) -> str:
        """Identity of what is played: every fact that a player could ever notice, and not the path."""
        document = [
            _HASH_VERSION,
            self.task,
            [self.goal.kind, self.goal.object_type, self.goal.receptacle_type, self.goal.lamp_type],
            self.start,
            [list(r) for r in self.receptacles],
            [
                [
                    t.id,
                    t.type,
                    t.name,
                    sorted(t.inside),
                    sorted(t.traits),
                    sorted(t.marks),
                    sorted(t.contents),
                    sorted(t.at or ()),
                ]
                for t in self.things
            ],
            sorted([r, sorted(types)] for r, types in self.can_contain.items() if types),
        ]
        return hashlib.sha256(json.dumps(document, separators=(",", ":")).encode()).hexdigest()

    @classmethod
    def build(
        cls,
        *,
        path: str,
        task: str,
        goal: Goal,
        start: str,
        receptacles: Iterable[Receptacle],
        things: Iterable[Thing],
        can_contain: Mapping[str, Iterable[str]],
    ) -> "Game":
        """A game from facts: sorts them and gives every entity the name that the original would give it.

        Ids must look like `type_bar_...` in lower case and be unique; the number in a name follows from their order.
        """
        ordered = sorted(receptacles)
        rest = sorted(things)
        names = entity_names(chain((r.id for r in ordered), (t.id for t in rest)))
        if len(names) != len(ordered) + len(rest):
            raise EnvError(
                f"game {path} uses an id twice among its {len(ordered)} receptacles and {len(rest)} things"
            )
        location = {r.id: r.location for r in ordered}
        try:
            placed = tuple(
                t._replace(
                    name=names[t.id], at=tuple(location[r] for r in t.inside) if t.at is None else t.at
                )
                for t in rest
            )
        except KeyError as error:
            raise EnvError(
                f"game {path} puts a thing into {error}, which is no receptacle of the game"
            ) from None
        lost = next((inner for t in rest for inner in t.contents if inner not in names), None)
        if lost is not None:
            raise EnvError(f"game {path} has {lost!r} lying in a thing, but it is no thing of the game")
        present = {t.type for t in rest}
        return cls(
            path=path,
            task=task,
            goal=goal,
            start=start,
            receptacles=tuple(r._replace(name=names[r.id]) for r in ordered),
            things=placed,
            can_contain={
                kind: frozenset(present.intersection(can_contain.get(kind, ())))
                for kind in {r.type for r in ordered}
            },
        )

    @classmethod
    def from_problem(cls, problem: str, task: str, path: str) -> "Game":
        """Read the release's PDDL problem; raises `EnvError` where it is no complete ALFWorld problem."""
        return _read_problem(problem, task, path)


def entity_names(ids: Iterable[str]) -> dict[str, str]:
    """Id -> name: the first id of a name in ascending order takes the highest number."""
    stems = {}
    count: dict[str, int] = {}
    for entity in sorted(ids, reverse=True):
        stem = entity.split("_bar_", 1)[0]
        if "basin" in entity:
            stem += "basin"
        number = count.get(stem, 0) + 1
        count[stem] = number
        stems[entity] = f"{stem} {number}"
    return stems


_FACT = re.compile(r"\(\s*([a-z]+)\s+([^\s()]+)(?:\s+([^\s()]+))?\s*\)")
_TRAIT_FACTS = {
    "pickupable": "pickupable",
    "cleanable": "cleanable",
    "heatable": "heatable",
    "coolable": "coolable",
} | {
    "sliceable": "sliceable",
    "toggleable": "toggleable",
    "isreceptacleobject": "holder",
}
_MARK_FACTS = {
    "isclean": "clean",
    "ishot": "hot",
    "iscool": "cool",
    "issliced": "sliced",
    "istoggled": "toggled",
}

_EXISTS_ONE = "(exists (?r - receptacle) (exists (?o - object) (and"
_GOALS = {
    "pick_and_place_simple": f"{_EXISTS_ONE} (inreceptacle ?o ?r) (objecttype ?o OBJECT) (receptacletype ?r RECEPTACLE) )))",
    "pick_clean_then_place_in_recep": f"{_EXISTS_ONE} (cleanable ?o) (objecttype ?o OBJECT) (receptacletype ?r RECEPTACLE) (isclean ?o) (inreceptacle ?o ?r) )))",
    "pick_heat_then_place_in_recep": f"{_EXISTS_ONE} (heatable ?o) (objecttype ?o OBJECT) (receptacletype ?r RECEPTACLE) (ishot ?o) (inreceptacle ?o ?r) )))",
    "pick_cool_then_place_in_recep": f"{_EXISTS_ONE} (coolable ?o) (objecttype ?o OBJECT) (receptacletype ?r RECEPTACLE) (iscool ?o) (inreceptacle ?o ?r) )))",
    "pick_two_obj_and_place": "(exists (?r - receptacle) (exists (?o1 - object) (and (objecttype ?o1 OBJECT) (receptacletype ?r RECEPTACLE) (inreceptacle ?o1 ?r)"
    " (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objecttype ?o2 OBJECT) (receptacletype ?r RECEPTACLE) (inreceptacle ?o2 ?r) )) )))",
    "look_at_obj_in_light": "(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objecttype ?ot LAMP) (toggleable ?ot) (istoggled ?ot)"
    " (receptacleatlocation ?r ?l) (atlocation ?a ?l) (inreceptacle ?ot ?r) ))"
    " (exists (?o - object ?a - agent) (and (objecttype ?o OBJECT) (holds ?a ?o) ))",
}


def _goal_pattern(shape: str) -> re.Pattern[str]:
    """The goal with white space anywhere between its signs, each type captured once and repeated alike."""
    pattern = ""
    seen: set[str] = set()
    for token in re.findall(r"[()]|[^\s()]+", f"(:goal (and {shape} ))"):
        if token in ("OBJECT", "RECEPTACLE", "LAMP"):
            pattern += rf"\s*(?P={token})" if token in seen else rf"\s*(?P<{token}>[a-z]+)type"
            pattern += r"(?:type)?" if token in seen else ""
            seen.add(token)
        else:
            pattern += r"\s*" + re.escape(token)
    return re.compile(pattern)


_GOAL_PATTERNS = {kind: _goal_pattern(shape) for kind, shape in _GOALS.items()}


def read_goal(text: str, path: str) -> Goal:
    """The goal of one of the six kinds from lower-case PDDL that begins at `(:goal`."""
    for kind, pattern in _GOAL_PATTERNS.items():
        if match := pattern.match(text):
            found = match.groupdict()
            return Goal(
                kind=kind,
                object_type=found["OBJECT"],
                receptacle_type=found.get("RECEPTACLE", ""),
                lamp_type=found.get("LAMP", ""),
            )
    shown = " ".join(text.split())[:120]
    raise EnvError(
        f"game {path} has a goal of none of ALFWorld's six kinds: {shown!r}; is this a game of the release?"
    )


def _untyped(name: str) -> str:
    return name[:-4] if name.endswith("type") else name


def _read_problem(problem: str, task: str, path: str) -> Game:
    text = problem.lower()
    begin, end = text.find("(:init"), text.rfind("(:goal")
    if begin < 0 or end < begin or text.count("(") != text.count(")"):
        raise EnvError(
            f"game {path} is truncated or no PDDL problem: no complete (:init ...) and (:goal ...); fetch it again"
        )
    pairs: dict[str, list[tuple[str, str]]] = {}
    for predicate, first, second in _FACT.findall(text, begin, end):
        pairs.setdefault(predicate, []).append((first, second))
    starts = pairs.get("atlocation", ())
    if len(starts) != 1:
        raise EnvError(f"game {path} places the agent {len(starts)} times instead of once; fetch it again")
    location = dict(pairs.get("receptacleatlocation", ()))
    openable = {a for a, _ in pairs.get("openable", ())}
    opened = {a for a, _ in pairs.get("opened", ())}
    try:
        receptacles = [
            Receptacle(r, _untyped(kind), location[r], r in openable, r in opened)
            for r, kind in pairs.get("receptacletype", ())
        ]
    except KeyError as error:
        raise EnvError(f"game {path} gives no location for receptacle {error}; fetch it again") from None
    can_contain: dict[str, set[str]] = {}
    for holder, kind in pairs.get("cancontain", ()):
        can_contain.setdefault(_untyped(holder), set()).add(_untyped(kind))
    return Game.build(
        path=path,
        task=task,
        goal=read_goal(text[end:], path),
        start=starts[0][1],
        receptacles=receptacles,
        things=_read_things(pairs),
        can_contain=can_contain,
    )


def _read_things(pairs: Mapping[str, list[tuple[str, str]]]) -> list[Thing]:
    types = {o: _untyped(kind) for o, kind in pairs.get("objecttype", ())}
    inside: dict[str, set[str]] = {}
    for o, r in pairs.get("inreceptacle", ()):
        inside.setdefault(o, set()).add(r)
    at: dict[str, set[str]] = {}
    for o, place in pairs.get("objectatlocation", ()):
        at.setdefault(o, set()).add(place)
    contents: dict[str, set[str]] = {}
    for inner, outer in pairs.get("inreceptacleobject", ()):
        contents.setdefault(outer, set()).add(inner)
    traits: dict[str, set[str]] = {}
    marks: dict[str, set[str]] = {}
    for facts, words in ((traits, _TRAIT_FACTS), (marks, _MARK_FACTS)):
        for predicate, word in words.items():
            for o, _ in pairs.get(predicate, ()):
                facts.setdefault(o, set()).add(word)
    none: frozenset[str] = frozenset()
    return [
        Thing(
            o,
            types.get(o, ""),
            tuple(sorted(inside.get(o, none))),
            _frozen(traits.get(o, none)),
            _frozen(marks.get(o, none)),
            tuple(sorted(contents.get(o, none))),
            tuple(sorted(at.get(o, none))),
        )
        for o in {
            *types,
            *inside,
            *at,
            *traits,
            *marks,
            *contents,
            *(inner for inner, _ in pairs.get("inreceptacleobject", ())),
        }
    ]


_SETS: dict[frozenset[str], frozenset[str]] = {}


def _frozen(words: Iterable[str]) -> frozenset[str]:
    """Equal small sets are one object: thousands of games share a few dozen."""
    found = frozenset(words)
    return _SETS.setdefault(found, found)
