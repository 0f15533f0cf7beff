"""Small games on disk, in each form that the data comes in."""

import json
import lzma
from pathlib import Path

from envs.alfworld.gamefile import GameRow, Logic, compose_game_file

PROBLEM = """
(define (problem plan_trial) (:domain alfred)
(:objects agent1 - agent  Apple_bar_1 - object  Fridge_bar_1 - receptacle  loc_a - location loc_b - location)
(:init
    (receptacleType Fridge_bar_1 FridgeType) (receptacleType Shelf_bar_1 ShelfType)
    (objectType Apple_bar_1 AppleType)
    (receptacleAtLocation Fridge_bar_1 loc_a) (receptacleAtLocation Shelf_bar_1 loc_b)
    (openable Fridge_bar_1) (pickupable Apple_bar_1)
    (canContain FridgeType AppleType) (canContain ShelfType AppleType)
    (inReceptacle Apple_bar_1 Shelf_bar_1) (objectAtLocation Apple_bar_1 loc_b)
    (atLocation agent1 loc_a)
)
(:goal (and (exists (?r - receptacle) (exists (?o - object) (and
    (inReceptacle ?o ?r) (objectType ?o AppleType) (receptacleType ?r FridgeType)
)))))
)
"""
PATH = "valid_unseen/pick_and_place_simple-Apple-None-Fridge-10/trial_T1"
LOGIC = Logic(domain="(define (domain alfred))", grammar='"rhs": "Your task is to: UNKNOWN GOAL"')


def row(number: int = 1, problem: str = PROBLEM) -> GameRow:
    return GameRow(
        path=f"valid_unseen/pick_and_place_simple-Apple-None-Fridge-10/trial_T{number}",
        task="put some apple on fridge.",
        problem=problem,
        walkthrough=("go to shelf 1",),
        solvable=True,
    )


def line(game: GameRow) -> str:
    return json.dumps(
        {
            "path": game.path,
            "task": game.task,
            "pddl_problem": game.problem,
            "walkthrough": list(game.walkthrough),
            "solvable": True,
        }
    )


def write_lines(file: Path, *lines: str) -> str:
    text = "".join(f"{text}\n" for text in lines)
    if file.suffix == ".xz":
        file.write_bytes(lzma.compress(text.encode()))
    else:
        file.write_text(text)
    return str(file)


def write_folder(folder: Path, *games: GameRow) -> str:
    for game in games:
        file = folder / game.path / "game.tw-pddl"
        file.parent.mkdir(parents=True)
        file.write_bytes(compose_game_file(game, LOGIC))
    return str(folder)
