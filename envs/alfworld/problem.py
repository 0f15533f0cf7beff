"""Writes a `Game` as the release writes it: the PDDL problem, the compact row and the `game.tw-pddl` file.

The text reads back to an equal `Game`. Knows nothing of how games are made up.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from envs.alfworld.catalogue import WRITTEN
from envs.alfworld.game import Game
from envs.alfworld.gamefile import GAME_FILE, GameRow, compose_game_file, find_logic
from envs.base import EnvError

# The domain names these types; a planner must find them declared in every problem.
_CONSTANTS = (
    ("Knife", "otype"),
    ("ButterKnife", "otype"),
    ("Sink", "rtype"),
    ("SinkBasin", "rtype"),
    ("Microwave", "rtype"),
    ("Fridge", "rtype"),
)
_TRAIT_FACTS = {
    "pickupable": "pickupable",
    "cleanable": "cleanable",
    "heatable": "heatable",
    "coolable": "coolable",
    "sliceable": "sliceable",
    "toggleable": "toggleable",
    "holder": "isReceptacleObject",
}
_MARK_FACTS = {
    "clean": "isClean",
    "hot": "isHot",
    "cool": "isCool",
    "sliced": "isSliced",
    "toggled": "isToggled",
}

_TREATED = "(exists (?r - receptacle) (exists (?o - object) (and ({can} ?o) (objectType ?o {o}) (receptacleType ?r {r}) ({done} ?o) (inReceptacle ?o ?r))))"
_GOALS = {
    "pick_and_place_simple": "(exists (?r - receptacle) (exists (?o - object) (and (inReceptacle ?o ?r) (objectType ?o {o}) (receptacleType ?r {r}))))",
    "pick_clean_then_place_in_recep": _TREATED.replace("{can}", "cleanable").replace("{done}", "isClean"),
    "pick_heat_then_place_in_recep": _TREATED.replace("{can}", "heatable").replace("{done}", "isHot"),
    "pick_cool_then_place_in_recep": _TREATED.replace("{can}", "coolable").replace("{done}", "isCool"),
    "pick_two_obj_and_place": "(exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 {o}) (receptacleType ?r {r}) (inReceptacle ?o1 ?r)"
    " (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 {o}) (receptacleType ?r {r}) (inReceptacle ?o2 ?r))))))",
    "look_at_obj_in_light": "(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot {l}) (toggleable ?ot) (isToggled ?ot)"
    " (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))\n"
    "        (exists (?o - object ?a - agent) (and (objectType ?o {o}) (holds ?a ?o)))",
}


def problem_text(game: Game) -> str:
    """PDDL that TextWorld plays with the release's domain and grammar."""
    trial = game.path.rsplit("/", 1)[-1]
    lines = [f"(define (problem plan_{trial})", "(:domain alfred)", "(:objects", "    agent1 - agent"]
    lines += [f"    {name} - {kind}" for name, kind in _objects(game)]
    lines += ["    )", "(:init", *(f"    ({fact})" for fact in _facts(game)), "    )"]
    goal = game.goal
    wanted = _GOALS[goal.kind].format(
        o=_type(goal.object_type), r=_type(goal.receptacle_type), l=_type(goal.lamp_type)
    )
    lines += ["(:goal", "    (and", f"        {wanted}", "    )", ")", ")", ""]
    return "\n".join(lines)


def game_row(game: Game, walkthrough: Iterable[str]) -> GameRow:
    return GameRow(
        path=game.path,
        task=game.task,
        problem=problem_text(game),
        walkthrough=tuple(walkthrough),
        solvable=True,
    )


def write_games(
    out: Path, split: str, games: Iterable[tuple[Game, Iterable[str]]], *, files: bool = False
) -> None:
    """Games with their walkthroughs, as one compact `SPLIT.jsonl` or as the release's tree of files."""
    out.mkdir(parents=True, exist_ok=True)
    rows = (game_row(game, walkthrough) for game, walkthrough in games)
    if files:
        logic = find_logic(out)
        for row in rows:
            folder = out / row.path
            folder.mkdir(parents=True, exist_ok=True)
            (folder / GAME_FILE).write_bytes(compose_game_file(row, logic))
        return
    part = out / f"{split}.jsonl.part"
    with part.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_document(row)) + "\n")
    part.replace(out / f"{split}.jsonl")


def _document(row: GameRow) -> dict:
    kind, thing, _, where, scene = row.path.split("/")[1].split("-")
    lamp = kind == "look_at_obj_in_light"
    return {
        "path": row.path,
        "task": row.task,
        "walkthrough": list(row.walkthrough),
        "solvable": row.solvable,
        "task_type": kind,
        "pddl_params": {
            "object_target": thing,
            "parent_target": "" if lamp else where,
            "toggle_target": where if lamp else "",
            "mrecep_target": "",
            "object_sliced": False,
        },
        "scene": int(scene),
        "pddl_problem": row.problem,
    }


def _written(type_name: str, path: str) -> str:
    try:
        return WRITTEN[type_name]
    except KeyError:
        raise EnvError(
            f"game {path} has a {type_name!r}, whose PDDL spelling is not in the catalogue"
        ) from None


def _type(type_name: str) -> str:
    return f"{WRITTEN[type_name]}Type" if type_name else ""


def _id(entity: str, type_name: str, path: str) -> str:
    """The id with its types spelled as the release spells them; names come from the lower-case form."""
    name = _written(type_name, path)
    first, rest = entity.split("_bar_", 1)
    if not name.lower().startswith(first):
        raise EnvError(f"game {path}: the id {entity} does not begin like its type {type_name}")
    spelled = name[: len(first)]
    return f"{spelled}_bar_{re.sub(rf'_bar_{type_name}$', f'_bar_{name}', rest)}"


def _objects(game: Game) -> Iterator[tuple[str, str]]:
    otypes = {_type(t.type) for t in game.things} | {_type(game.goal.object_type)}
    otypes |= {_type(t) for types in game.can_contain.values() for t in types}
    if game.goal.lamp_type:
        otypes.add(_type(game.goal.lamp_type))
    rtypes = {_type(r.type) for r in game.receptacles}
    if game.goal.receptacle_type:
        rtypes.add(_type(game.goal.receptacle_type))
    otypes |= {f"{name}Type" for name, kind in _CONSTANTS if kind == "otype"}
    rtypes |= {f"{name}Type" for name, kind in _CONSTANTS if kind == "rtype"}
    yield from ((name, "otype") for name in sorted(otypes))
    yield from ((name, "rtype") for name in sorted(rtypes))
    yield from ((_id(t.id, t.type, game.path), "object") for t in game.things)
    yield from ((_id(r.id, r.type, game.path), "receptacle") for r in game.receptacles)
    yield from ((name, "location") for name in sorted({game.start, *(r.location for r in game.receptacles)}))


def _facts(game: Game) -> Iterator[str]:
    receptacle_id = {r.id: _id(r.id, r.type, game.path) for r in game.receptacles}
    thing_id = {t.id: _id(t.id, t.type, game.path) for t in game.things}
    yield f"atLocation agent1 {game.start}"
    for r in game.receptacles:
        name = receptacle_id[r.id]
        yield f"receptacleType {name} {_type(r.type)}"
        yield f"receptacleAtLocation {name} {r.location}"
        if r.openable:
            yield f"openable {name}"
        if r.opened:
            yield f"opened {name}"
    for r_type, types in sorted(game.can_contain.items()):
        yield from (f"canContain {_type(r_type)} {_type(t)}" for t in sorted(types))
    for t in game.things:
        name = thing_id[t.id]
        yield f"objectType {name} {_type(t.type)}"
        yield from (f"{_TRAIT_FACTS[trait]} {name}" for trait in sorted(t.traits))
        yield from (f"{_MARK_FACTS[mark]} {name}" for mark in sorted(t.marks))
        yield from (f"inReceptacle {name} {receptacle_id[r]}" for r in t.inside)
        yield from (f"objectAtLocation {name} {place}" for place in t.at or ())
        yield from (f"inReceptacleObject {thing_id[inner]} {name}" for inner in t.contents)
