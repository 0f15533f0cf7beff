"""The rules of our ALFWorld, in a household small enough to read."""

import dataclasses

import pytest

from envs.alfworld.game import Game, Goal, Receptacle, Thing, entity_names
from envs.alfworld.world import BANNER, HELP, NOTHING_HAPPENS, World
from envs.base import EnvError

FOOD = frozenset({"pickupable", "heatable", "coolable", "cleanable", "sliceable"})
DISH = frozenset({"pickupable", "cleanable", "holder"})


def kitchen(
    kind: str = "pick_and_place_simple",
    thing: str = "apple",
    place: str = "fridge",
    lamp: str = "",
    **changes,
) -> Game:
    receptacles = [
        Receptacle("fridge_bar_1", "fridge", "loc_a", openable=True),
        Receptacle("microwave_bar_1", "microwave", "loc_b", openable=True),
        Receptacle("sink_bar_1_bar_sinkbasin", "sinkbasin", "loc_c"),
        Receptacle("shelf_bar_1", "shelf", "loc_d"),
        Receptacle("shelf_bar_2", "shelf", "loc_d"),
        Receptacle("shelf_bar_3", "shelf", "loc_e"),
    ]
    things = [
        Thing("apple_bar_1", "apple", ("shelf_bar_1",), FOOD),
        Thing("apple_bar_2", "apple", ("fridge_bar_1",), FOOD),
        Thing("bowl_bar_1", "bowl", ("shelf_bar_2", "shelf_bar_3"), DISH, contents=("pen_bar_1",)),
        Thing("desklamp_bar_1", "desklamp", ("shelf_bar_3",), frozenset({"toggleable"})),
        Thing("knife_bar_1", "knife", ("shelf_bar_1",), frozenset({"pickupable", "cleanable"})),
        Thing("pen_bar_1", "pen", ("shelf_bar_2",), frozenset({"pickupable"})),
        Thing("window_bar_1", "window", at=("loc_a",)),
    ]
    facts = {
        "path": "train/pick_and_place_simple-Apple-None-Fridge-1/trial_1",
        "task": "put some apple on fridge.",
        "goal": Goal(kind=kind, object_type=thing, receptacle_type=place, lamp_type=lamp),
        "start": "loc_start",
        "receptacles": receptacles,
        "things": things,
        "can_contain": {
            "fridge": {"apple", "bowl"},
            "shelf": {"apple", "bowl", "knife", "pen"},
            "sinkbasin": {"apple", "knife"},
            "microwave": {"apple"},
        },
    }
    return Game.build(**(facts | changes))


def say(world: World, *commands: str) -> str:
    """Do all and return the last answer."""
    answer = ""
    for command in commands:
        assert command in world.admissible, f"{command!r} is not among {world.admissible}"
        answer = world.step(command)
        assert world.valid
    return answer


def test_names_count_down_along_the_ids_and_basins_are_told_apart():
    names = entity_names(
        ["drawer_bar_a", "drawer_bar_b", "sink_bar_1", "sink_bar_1_bar_sinkbasin", "drawer_bar_c"]
    )
    assert names == {
        "drawer_bar_a": "drawer 3",
        "drawer_bar_b": "drawer 2",
        "drawer_bar_c": "drawer 1",
        "sink_bar_1": "sink 1",
        "sink_bar_1_bar_sinkbasin": "sinkbasin 1",
    }


def test_opening_lists_every_receptacle_in_id_order_and_look_at_the_start_sees_none():
    world = World(kitchen())
    assert world.reset() == (
        f"{BANNER}You are in the middle of a room. Looking quickly around you, you see a fridge 1, a microwave 1, "
        "a shelf 3, a shelf 2, a shelf 1, and a sinkbasin 1.\n\nYour task is to: put some apple on fridge."
    )
    assert say(world, "look").endswith("you see nothing.")
    assert world.admissible == tuple(sorted(world.admissible))


def test_a_closed_fridge_hides_and_refuses_until_it_is_opened():
    world = World(kitchen())
    assert say(world, "go to fridge 1") == "You arrive at fridge 1. The fridge 1 is closed."
    assert world.step("take apple 1 from fridge 1") == NOTHING_HAPPENS
    assert (
        say(world, "open fridge 1")
        == "You open the fridge 1. The fridge 1 is open. In it, you see a apple 1."
    )
    assert say(world, "take apple 1 from fridge 1") == "You pick up the apple 1 from the fridge 1."
    assert say(world, "close fridge 1") == "You close the fridge 1."
    assert world.step("move apple 1 to fridge 1") == NOTHING_HAPPENS


def test_one_does_not_go_where_one_is():
    world = World(kitchen())
    say(world, "go to shelf 3")
    # shelf 2 is another receptacle of the same place
    assert "go to shelf 3" not in world.admissible and "go to shelf 2" not in world.admissible
    assert world.step("go to shelf 2") == NOTHING_HAPPENS
    assert say(world, "look") == "You are facing the shelf 3, and shelf 2. Next to it, you see nothing."
    assert say(world, "examine shelf 2") == "On the shelf 2, you see a bowl 1, and a pen 1."


def test_a_thing_in_two_receptacles_leaves_only_the_one_it_is_taken_from():
    world = World(kitchen())
    say(world, "go to shelf 2", "take bowl 1 from shelf 2")
    assert (
        say(world, "go to shelf 1")
        == "You arrive at shelf 1. On the shelf 1, you see a bowl 1, and a desklamp 1."
    )
    assert say(world, "move bowl 1 to shelf 1") == "You move the bowl 1 to the shelf 1."
    assert world.contents[world.here[0]].count(2) == 1


def test_only_what_is_held_can_be_examined():
    world = World(kitchen())
    say(world, "go to shelf 3")
    assert world.step("examine knife 1") == NOTHING_HAPPENS
    say(world, "take knife 1 from shelf 3")
    assert say(world, "examine knife 1") == "There's nothing special about knife 1."
    assert say(world, "move knife 1 to shelf 3", "take bowl 1 from shelf 2", "examine bowl 1") == (
        "This is a normal bowl 1. In it, you see a pen 1."
    )


@pytest.mark.parametrize(
    "commands, words",
    [
        (("go to microwave 1", "heat apple 2 with microwave 1"), "This is a hot apple 2."),
        (("go to fridge 1", "cool apple 2 with fridge 1"), "This is a cold apple 2."),
        (("go to sinkbasin 1", "clean apple 2 with sinkbasin 1"), "This is a clean apple 2."),
        (
            (
                "go to microwave 1",
                "heat apple 2 with microwave 1",
                "go to fridge 1",
                "cool apple 2 with fridge 1",
            ),
            "This is a cold apple 2.",
        ),
        (
            (
                "go to fridge 1",
                "cool apple 2 with fridge 1",
                "go to sinkbasin 1",
                "clean apple 2 with sinkbasin 1",
            ),
            "This is a cool and clean apple 2.",
        ),
        (
            (
                "go to microwave 1",
                "heat apple 2 with microwave 1",
                "go to sinkbasin 1",
                "clean apple 2 with sinkbasin 1",
            ),
            "This is a hot and clean apple 2.",
        ),
    ],
)
def test_appliances_work_closed_and_leave_their_mark(commands, words):
    world = World(kitchen())
    say(world, "go to shelf 3", "take apple 2 from shelf 3", *commands)
    assert say(world, "examine apple 2") == words
    assert say(world, "inventory") == "You are carrying: a apple 2."


def test_slicing_needs_the_knife_in_hand_and_marks_what_lies_here():
    world = World(kitchen())
    say(world, "go to shelf 3", "take knife 1 from shelf 3")
    assert say(world, "slice apple 2 with knife 1") == "You sliced the apple 2 with the knife 1."
    say(world, "move knife 1 to shelf 3", "take apple 2 from shelf 3")
    assert say(world, "examine apple 2") == "This is a sliced apple 2."
    say(world, "go to microwave 1", "heat apple 2 with microwave 1")
    assert say(world, "examine apple 2") == "This is a hot sliced apple 2."
    # even through the door of a closed fridge
    say(
        world,
        "go to sinkbasin 1",
        "move apple 2 to sinkbasin 1",
        "go to shelf 3",
        "take knife 1 from shelf 3",
        "go to fridge 1",
    )
    assert (
        "slice apple 1 with knife 1" in world.admissible
        and "slice apple 2 with knife 1" not in world.admissible
    )


@pytest.mark.parametrize(
    "kind, thing, place, lamp, commands",
    [
        ("pick_and_place_simple", "apple", "sinkbasin", "", ("take apple 2 from shelf 3", "go to sinkbasin 1", "move apple 2 to sinkbasin 1")),
        ("pick_clean_then_place_in_recep", "apple", "shelf", "", ("take apple 2 from shelf 3", "go to sinkbasin 1", "clean apple 2 with sinkbasin 1", "go to shelf 1", "move apple 2 to shelf 1")),
        ("pick_heat_then_place_in_recep", "apple", "shelf", "", ("take apple 2 from shelf 3", "go to microwave 1", "heat apple 2 with microwave 1", "go to shelf 1", "move apple 2 to shelf 1")),
        ("pick_cool_then_place_in_recep", "apple", "shelf", "", ("take apple 2 from shelf 3", "go to fridge 1", "cool apple 2 with fridge 1", "go to shelf 1", "move apple 2 to shelf 1")),
        ("pick_two_obj_and_place", "apple", "shelf", "", ("go to fridge 1", "open fridge 1", "take apple 1 from fridge 1", "go to shelf 3", "move apple 1 to shelf 3")),
        ("look_at_obj_in_light", "pen", "", "desklamp", ("take pen 1 from shelf 2", "go to shelf 1", "use desklamp 1")),
    ],
)  # fmt: skip
def test_every_kind_is_won_at_the_last_step_and_no_earlier(kind, thing, place, lamp, commands):
    game = kitchen(kind, thing, place, lamp)
    world = World(game)
    assert not world.done
    say(world, "go to shelf 3")
    for command in commands:
        assert world.score == 0, command
        say(world, command)
    assert world.done and world.score == 1
    assert world.step("xyzzy") == NOTHING_HAPPENS
    assert world.done, "the goal still holds after an impossible command"
    if kind == "look_at_obj_in_light":
        say(world, "go to fridge 1")
        assert not world.done, "away from the lamp the goal no longer holds"


def test_two_of_a_kind_on_two_shelves_do_not_count():
    world = World(kitchen("pick_two_obj_and_place", "apple", "shelf"))
    say(
        world,
        "go to fridge 1",
        "open fridge 1",
        "take apple 1 from fridge 1",
        "go to shelf 1",
        "move apple 1 to shelf 1",
    )
    assert not world.done


def test_white_space_around_a_command_is_forgiven_and_nothing_else():
    world = World(kitchen())
    assert world.step("  go to shelf 3\n").startswith("You arrive")
    for command in ("GO TO FRIDGE 1", "go  to fridge 1", "go to fridge", "", "go to fridge 1."):
        assert world.step(command) == NOTHING_HAPPENS
        assert not world.valid
    assert say(world, "help") == HELP


def test_a_reset_forgets_everything():
    game = kitchen()
    world = World(game)
    opening = world.reset()
    say(
        world,
        "go to shelf 3",
        "take apple 2 from shelf 3",
        "go to fridge 1",
        "open fridge 1",
        "cool apple 2 with fridge 1",
    )
    assert world.reset() == opening
    fresh = World(game)
    assert (world.contents, world.opened, world.held, world.location, world.marks) == (
        fresh.contents, fresh.opened, fresh.held, fresh.location, fresh.marks,
    )  # fmt: skip


def test_the_hash_sees_every_fact_and_not_the_path():
    game = kitchen()
    assert dataclasses.replace(game, path="test/a/b").sha256 == game.sha256
    others = [
        kitchen(task="put an apple on fridge."),
        kitchen(start="loc_a"),
        kitchen("pick_cool_then_place_in_recep"),
        kitchen(can_contain={"fridge": {"apple"}}),
        kitchen(things=[t for t in kitchen().things if t.type != "window"]),
    ]
    assert len({game.sha256, *(other.sha256 for other in others)}) == 6


def test_facts_that_do_not_fit_are_refused():
    with pytest.raises(EnvError, match="twice"):
        kitchen(things=[Thing("apple_bar_1", "apple"), Thing("apple_bar_1", "apple")])
    with pytest.raises(EnvError, match="no receptacle"):
        kitchen(things=[Thing("apple_bar_1", "apple", ("cellar_bar_1",))])
    with pytest.raises(EnvError, match="no thing"):
        kitchen(things=[Thing("bowl_bar_1", "bowl", contents=("pen_bar_9",))])
