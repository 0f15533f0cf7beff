"""The rule-based hint writer: each habit is told from play in a real household, and clean play is accused of nothing."""

import json
import random

import pytest

from actors.trajectory import EndReason, Trajectory, Turn
from distill.hints.bank import build_bank
from distill.hints.config import DiagnosticianConfig
from distill.hints.diagnostician import diagnose, diagnose_all
from distill.hints.lint import lint
from distill.hints.rules import RULES, alfworld, rules_for
from distill.hints.rules.alfworld_trace import parse_goal
from distill.pocket.demonstrator import demonstrate
from distill.pocket.habits import Habit, draw_habits
from envs.alfworld.game import Game, Goal, Receptacle, Thing
from envs.alfworld.generate import make_game
from envs.alfworld.world import World
from envs.task import Task

HEAT, TWO = "pick_heat_then_place_in_recep", "pick_two_obj_and_place"
LAMP, PLACE = "look_at_obj_in_light", "pick_and_place_simple"
GOALS = {
    HEAT: (
        "put a hot apple in garbagecan.",
        Goal(kind=HEAT, object_type="apple", receptacle_type="garbagecan"),
    ),
    TWO: (
        "find two apple and put them in garbagecan.",
        Goal(kind=TWO, object_type="apple", receptacle_type="garbagecan"),
    ),
    LAMP: ("look at apple under the desklamp.", Goal(kind=LAMP, object_type="apple", lamp_type="desklamp")),
    PLACE: ("put some apple on safe.", Goal(kind=PLACE, object_type="apple", receptacle_type="safe")),
}


def household(kind: str) -> Game:
    """countertop 1: apple 2, tomato 1; cabinet 1 (closed): apple 1; desk 1: desklamp 1; safe 1 (closed) and the rest empty."""

    def place(name: str, openable: bool = False) -> Receptacle:
        return Receptacle(f"{name}_bar_1", name, f"loc_{name}", openable)

    carried = frozenset({"pickupable", "heatable", "coolable", "cleanable"})
    things = [
        Thing("apple_bar_1", "apple", ("countertop_bar_1",), carried),
        Thing("apple_bar_2", "apple", ("cabinet_bar_1",), carried),
        Thing("tomato_bar_1", "tomato", ("countertop_bar_1",), carried),
        Thing("desklamp_bar_1", "desklamp", ("desk_bar_1",), frozenset({"toggleable"})),
    ]
    names = ("countertop", "desk", "garbagecan", "sinkbasin", "shelf")
    closed = ("cabinet", "microwave", "safe", "fridge")
    task, goal = GOALS[kind]
    return Game.build(
        path=f"train/{kind}/1",
        task=task,
        goal=goal,
        start="loc_start",
        receptacles=[*(place(name) for name in names), *(place(name, openable=True) for name in closed)],
        things=things,
        can_contain={name: {"apple", "tomato"} for name in (*names, *closed)},
    )


def play(kind: str, *commands: str) -> Trajectory:
    world = World(household(kind))
    opening = world.reset()
    turns = tuple(Turn(reply=c, action=c, observation=world.step(c), valid=world.valid) for c in commands)
    return record(kind, world.game.task, opening, turns, world.done)


def record(
    kind: str, goal: str, opening: str, turns: tuple[Turn, ...], success: bool, name: str = "g1"
) -> Trajectory:
    return Trajectory(
        task=Task(env="alfworld", split="train", id=name, kind=kind, goal=goal),
        role="base",
        arm="base",
        agent="react",
        model="pocket",
        adapter=None,
        seed=0,
        hints=(),
        opening=opening,
        turns=turns,
        end=EndReason.DONE if success else EndReason.STEP_LIMIT,
        success=success,
        score=float(success),
    )


TAKE = ("go to countertop 1", "take apple 2 from countertop 1")
FAILURES = [
    ("heat_first", HEAT, (*TAKE, "go to garbagecan 1", "move apple 2 to garbagecan 1", "look")),
    (
        "heat_first",
        HEAT,
        (*TAKE, "go to shelf 1", "go to desk 1", "go to fridge 1", "cool apple 2 with fridge 1"),
    ),
    (
        "take_named",
        HEAT,
        (
            "go to countertop 1",
            "take tomato 1 from countertop 1",
            "go to microwave 1",
            "heat tomato 1 with microwave 1",
            "look",
        ),
    ),
    (
        "open_containers",
        PLACE,
        ("go to cabinet 1", "go to microwave 1", "go to fridge 1", "go to desk 1", "look"),
    ),
    (
        "look_once",
        PLACE,
        ("go to desk 1", "go to shelf 1", "go to desk 1", "go to shelf 1", "go to desk 1", "look"),
    ),
    ("open_target", PLACE, (*TAKE, "go to safe 1", "move apple 2 to safe 1", "move apple 2 to safe 1")),
    ("open_target", PLACE, (*TAKE, "go to safe 1", "look", "look")),
    ("right_place", PLACE, (*TAKE, "go to shelf 1", "move apple 2 to shelf 1", "look")),
    (
        "move_not_put",
        PLACE,
        (*TAKE, "go to safe 1", "open safe 1", "put apple 2 in/on safe 1", "put apple 2 in safe 1"),
    ),
    ("second_one", TWO, (*TAKE, "go to garbagecan 1", "move apple 2 to garbagecan 1", "look", "look")),
    (
        "second_one",
        TWO,
        (
            *TAKE,
            "go to garbagecan 1",
            "move apple 2 to garbagecan 1",
            "take apple 2 from garbagecan 1",
            "look",
        ),
    ),
    ("use_lamp", LAMP, (*TAKE, "examine apple 2", "look")),
    ("use_lamp", LAMP, (*TAKE, "go to desk 1", "examine apple 2", "look")),
    ("exact_names", PLACE, ("go to countertop 1", "take apple 7 from countertop 1")),
    ("no_repeat", PLACE, ("go to countertop 1", "take apple", "take apple", "take apple")),
]


@pytest.mark.parametrize(("habit", "kind", "commands"), FAILURES)
def test_the_habit_that_stopped_success_is_named_first(habit, kind, commands):
    failure = play(kind, *commands)
    assert not failure.success
    assert alfworld.diagnose(failure)[0] == habit
    hint = diagnose(failure)[0]
    assert hint.text in alfworld.PHRASINGS[habit]
    assert (hint.kind, hint.env, hint.sources, hint.uses_oracle) == (kind, "alfworld", (failure.id,), False)


@pytest.mark.parametrize(
    ("kind", "commands"),
    [
        (
            HEAT,
            (
                *TAKE,
                "go to microwave 1",
                "heat apple 2 with microwave 1",
                "go to garbagecan 1",
                "move apple 2 to garbagecan 1",
            ),
        ),
        (
            PLACE,
            (
                "go to cabinet 1",
                "open cabinet 1",
                "take apple 1 from cabinet 1",
                "go to safe 1",
                "open safe 1",
                "move apple 1 to safe 1",
            ),
        ),
        (LAMP, ("go to desk 1", "use desklamp 1", *TAKE, "go to desk 1")),
    ],
)
def test_a_clean_success_is_accused_of_nothing(kind, commands):
    success = play(kind, *commands)
    assert success.success
    assert alfworld.diagnose(success) == []


def test_an_untreated_object_outranks_a_repeated_command_and_slips_stand_alone():
    failure = play(
        HEAT,
        *TAKE,
        "go to garbagecan 1",
        "open garbagecan 1",
        "open garbagecan 1",
        "move apple 2 to garbagecan 1",
        "look",
    )
    assert alfworld.diagnose(failure) == ["heat_first"]


def test_an_orderly_search_cut_off_by_the_limit_is_no_habit():
    failure = play(PLACE, "go to desk 1", "go to shelf 1", "go to sinkbasin 1", "go to cabinet 1")
    assert alfworld.diagnose(failure) == []


def test_put_that_the_dialect_understood_is_no_mistake():
    failure = play(TWO, *TAKE, "go to garbagecan 1", "move apple 2 to garbagecan 1", "look")
    rewritten = tuple(
        Turn(
            reply="put", action="put apple 2 in/on garbagecan 1", executed=t.action, observation=t.observation
        )
        if t.action.startswith("move")
        else t
        for t in failure.turns
    )
    assert alfworld.diagnose(record(TWO, failure.task.goal, failure.opening, rewritten, False)) == [
        "second_one"
    ]


def test_the_real_walkthroughs_show_no_habit(test_data):
    checked = 0
    for line in (
        (test_data / "alfworld" / "traces" / "valid_unseen_walkthrough.jsonl").read_text().splitlines()
    ):
        trace = json.loads(line)
        opening = trace["steps"][0]["obs"]
        turns = tuple(
            Turn(reply=s["action"], action=s["action"], observation=s["obs"]) for s in trace["steps"][1:]
        )
        goal = opening.split("Your task is to: ")[1]
        assert parse_goal(goal) is not None
        assert alfworld.diagnose(record("any", goal, opening, turns, True)) == []
        checked += 1
    assert checked == 69


def test_names_what_the_demonstrator_lacks_from_its_actions_alone():
    """The demonstrator fails by known habits; the first one named is one of them in 99 of 100 failures."""
    rng = random.Random(11)
    failures = right = 0
    for number in range(400):
        game = make_game(rng, rooms="small").game
        habits = draw_habits(rng, game.goal.object_type, ())
        shown = demonstrate(game, habits, max_steps=30)
        named = alfworld.diagnose(
            record(game.kind, game.task, shown.opening, shown.turns, shown.success, f"g{number}")
        )
        lacks = {str(habit) for habit in Habit if habit not in habits}
        if not shown.success:
            failures += 1
            right += bool(named) and named[0] in lacks
        else:
            assert set(named) <= lacks
    assert failures > 150
    assert right / failures > 0.99


def test_every_phrasing_is_a_good_hint_and_some_are_near_duplicates():
    for env in RULES:
        for habit, phrasings in rules_for(env).PHRASINGS.items():
            assert len(set(phrasings)) == len(phrasings) >= 2
            for text in phrasings:
                assert lint(text) == [], (habit, text)
    folded = build_bank([hint for i in range(60) for hint in diagnose(named_failure(i))])
    assert 1 < len(folded.hints) < len(alfworld.PHRASINGS["heat_first"])


def test_the_same_failure_gets_the_same_words_in_any_order():
    failures = [named_failure(i) for i in range(20)]
    forward, backward = diagnose_all(failures), diagnose_all(failures[::-1])
    assert forward == backward
    assert len({hint.text for hint in forward}) > 1


def test_slips_keep_their_share():
    slip = ("go to countertop 1", "take apple", "take apple")
    failures = [named_failure(i) for i in range(40)] + [named_failure(i, slip) for i in range(40, 80)]
    hints = diagnose_all(failures, DiagnosticianConfig(max_slip_share=0.1))
    slips = [hint for hint in hints if hint.text in alfworld.PHRASINGS["no_repeat"]]
    assert len(slips) == 4
    assert not [h for h in diagnose_all(failures, DiagnosticianConfig(skip=("no_repeat",))) if h in slips]


def test_an_environment_without_rules_is_named(trajectory_of, panel_of):
    failure = trajectory_of(
        Task(env="textcraft", split="train", id="1", kind="tools", goal="craft a torch"), success=False
    )
    with pytest.raises(ValueError, match=r"no rules for 'textcraft'.*writer\.kind = 'openai'"):
        diagnose(failure)


def named_failure(
    number: int,
    commands: tuple[str, ...] = (*TAKE, "go to garbagecan 1", "move apple 2 to garbagecan 1", "look"),
) -> Trajectory:
    failure = play(HEAT, *commands)
    return record(HEAT, failure.task.goal, failure.opening, failure.turns, False, f"g{number}")
