"""Generated households: solvable, apart, repeatable, and readable by our engine and by the original."""

import itertools
import random

import pytest

from envs.alfworld.catalogue import CAN_CONTAIN, THINGS_OF_ROOM, WRITTEN, lookalikes_of
from envs.alfworld.game import KINDS, Game
from envs.alfworld.generate import generate, generate_splits, layout_side, make_game, make_games, solve
from envs.alfworld.index import GameIndex
from envs.alfworld.problem import problem_text
from envs.alfworld.world import World
from envs.base import EnvError


def _layout(game: Game) -> tuple[str, ...]:
    return tuple(r.name for r in game.receptacles)


@pytest.mark.parametrize("rooms", ["small", "full", "crowded"])
def test_every_walkthrough_wins_and_no_game_is_won_at_the_start(rooms):
    for made in make_games(1, 60, side="train", rooms=rooms):
        world = World(made.game)
        assert not world.done
        for command in made.walkthrough:
            world.step(command)
            assert world.valid, (made.game.path, command)
        assert world.done


def test_a_plan_that_does_not_win_is_none():
    game = next(iter(make_games(2, 1, side="train"))).game
    without = [t for t in game.things if t.type != game.goal.object_type]
    poorer = Game.build(
        path=game.path,
        task=game.task,
        goal=game.goal,
        start=game.start,
        receptacles=game.receptacles,
        things=without,
        can_contain=game.can_contain,
    )
    assert solve(game) is not None
    assert solve(poorer) is None


def test_the_six_kinds_come_in_equal_parts():
    games = [made.game for made in make_games(3, 60, side="test", rooms="small")]
    assert [sum(g.kind == kind for g in games) for kind in KINDS] == [10] * 6


def test_games_are_unique_and_repeat_with_their_seed():
    first = [made.game for made in make_games(4, 90, side="train", rooms="small")]
    again = [made.game for made in make_games(4, 90, side="train", rooms="small")]
    other = [made.game for made in make_games(5, 90, side="train", rooms="small")]
    assert first == again
    assert len({g.sha256 for g in first}) == len({g.path for g in first}) == 90
    assert not {g.sha256 for g in first} & {g.sha256 for g in other}


def test_train_and_test_share_no_layout_even_across_seeds():
    train = {_layout(m.game) for seed in (6, 7) for m in make_games(seed, 120, side="train", rooms="small")}
    test = {_layout(m.game) for seed in (6, 8) for m in make_games(seed, 120, side="test", rooms="small")}
    assert not train & test
    assert {layout_side(layout) for layout in train} == {"train"}
    assert {layout_side(layout) for layout in test} == {"test"}


def test_rooms_have_the_size_that_was_asked_for():
    sizes = {
        rooms: [len(m.game.receptacles) for m in make_games(9, 60, side="train", rooms=rooms)]
        for rooms in ("small", "full", "crowded", "mixed")
    }
    assert min(sizes["small"]) >= 4 and max(sizes["small"]) <= 11
    assert sum(sizes["full"]) / 60 > 18
    assert min(sizes["crowded"]) == 4 and sum(sizes["crowded"]) / 60 < 5.5
    assert min(sizes["mixed"]) < 9 < 15 < max(sizes["mixed"])


def test_a_crowded_room_is_full_of_things():
    games = [made.game for made in make_games(9, 60, side="train", rooms="crowded")]
    small = [made.game for made in make_games(9, 60, side="train", rooms="small")]
    crowd, few = (sum(len(g.things) / len(g.receptacles) for g in some) / 60 for some in (games, small))
    assert crowd > 1.5 * few


def test_everything_stands_where_such_things_may_stand():
    for made in make_games(10, 60, side="train", rooms="mixed"):
        game = made.game
        types = {r.id: r.type for r in game.receptacles}
        for thing in game.things:
            if "pickupable" in thing.traits:
                assert thing.type in CAN_CONTAIN[types[thing.inside[0]]]
        if game.goal.receptacle_type:
            assert game.goal.object_type in game.can_contain[game.goal.receptacle_type]


def test_the_catalogue_spells_every_type_it_uses():
    named = itertools.chain(CAN_CONTAIN, *CAN_CONTAIN.values(), *THINGS_OF_ROOM.values())
    assert {name for name in named if name not in WRITTEN} == set()
    assert all(a in lookalikes_of(b) for a in WRITTEN for b in lookalikes_of(a))


def test_the_problem_text_reads_back_to_an_equal_game():
    for made in make_games(11, 30, side="test", rooms="mixed"):
        read = Game.from_problem(problem_text(made.game), made.game.task, made.game.path)
        assert read == made.game
        assert read.sha256 == made.game.sha256


def test_written_games_are_found_again_by_their_paths(tmp_path):
    assert generate_splits(tmp_path, seed=12, train=12, test=6) == {"train": 12, "valid_unseen": 6}
    index = GameIndex(tmp_path)
    assert len(index.paths("train")) == 12
    assert len(index.paths("test")) == 6
    made = {m.game.path: m for m in make_games(12, 12, side="train", rooms="small")}
    for path in index.paths("train"):
        assert index.game(path) == made[path].game
        assert index.row(path).walkthrough == made[path].walkthrough


def test_a_third_of_generated_games_is_for_testing(tmp_path):
    assert generate(tmp_path, seed=1, games=9) == {"train": 6, "valid_unseen": 3}


def test_no_games_at_all_is_an_error(tmp_path):
    with pytest.raises(EnvError, match="at least one"):
        generate_splits(tmp_path, train=0, test=0)


def test_a_kind_can_be_asked_for():
    rng = random.Random(0)
    assert {make_game(rng, kind="look_at_obj_in_light").game.kind for _ in range(5)} == {
        "look_at_obj_in_light"
    }


@pytest.mark.slow
def test_textworld_plays_generated_games_as_our_engine_does(tmp_path):
    pytest.importorskip("textworld", reason="the reference backend needs the extra `alfworld`")
    pytest.importorskip("alfworld")
    from envs.alfworld.textworld_backend import TextWorldEnv
    from envs.config import AlfworldConfig

    generate_splits(tmp_path, seed=13, train=2, test=1, rooms="small", files=True)
    index = GameIndex(tmp_path)
    original = TextWorldEnv(AlfworldConfig(games=str(tmp_path), view="original"))
    rng = random.Random(0)
    for path in index.paths():
        world = World(index.game(path))
        assert world.reset() == original.reset(index.task(path), seed=0).observation
        wandering = [rng.choice(world.admissible) for _ in range(1)]
        for command in [*wandering, *index.row(path).walkthrough]:
            said, result = world.step(command), original.step(command)
            assert (said, world.admissible) == (result.observation, result.admissible)
            assert world.done == result.success
        assert world.done
    original.close()
