"""Real games: every recorded step is reproduced, every walkthrough wins, and nothing a player types breaks the engine."""

import json
import lzma
import random
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.alfworld.env import list_tasks, open_env
from envs.alfworld.game import Game
from envs.alfworld.index import GameIndex, open_index
from envs.alfworld.traces import check_traces
from envs.alfworld.world import World
from envs.config import AlfworldConfig


@pytest.fixture(scope="module")
def alfworld(test_data):
    return test_data / "alfworld"


@pytest.fixture(scope="module")
def unseen(alfworld) -> GameIndex:
    return open_index(str(alfworld / "valid_unseen.jsonl.xz"))


def wins(game: Game, walkthrough: tuple[str, ...]) -> bool:
    """Every command is admissible and the last one, and no other, reaches the goal."""
    world = World(game)
    for command in walkthrough:
        if world.done or command not in world.admissible:
            return False
        world.step(command)
    return world.done


def test_every_recorded_step_is_reproduced(alfworld, tmp_path):
    games = [alfworld / "valid_seen.jsonl.xz", alfworld / "valid_unseen.jsonl.xz"]
    for file in games:
        (tmp_path / file.name).symlink_to(file)
    report = check_traces(alfworld / "traces", tmp_path)
    assert report.first_difference is None
    assert report.missing == ()
    assert report.num_traces == 122 and report.matched == 1309


@pytest.mark.parametrize("split, number", [("valid_seen", 100), ("valid_unseen", 69)])
def test_walkthroughs_of_the_validation_games_win(alfworld, split, number):
    index = open_index(str(alfworld / f"{split}.jsonl.xz"))
    paths = index.paths()
    assert len(paths) == number
    assert [path for path in paths if not wins(index.game(path), index.row(path).walkthrough)] == []


@pytest.mark.timeout(900)  # twelve seconds of CPU; a busy machine may give it little
def test_walkthroughs_of_all_train_games_win(alfworld):
    lost, number = [], 0
    with lzma.open(alfworld / "train.jsonl.xz", "rt") as stream:
        for line in stream:
            row = json.loads(line)
            game = Game.from_problem(row["pddl_problem"], row["task"], row["path"])
            number += 1
            if game.kind != row["task_type"] or not wins(game, row["walkthrough"]):
                lost.append(row["path"])
    assert lost == []
    assert number == 3553


def test_64_players_in_8_threads_see_what_one_alone_sees(alfworld):
    config = AlfworldConfig(games=str(alfworld / "valid_unseen.jsonl.xz"))
    tasks = list_tasks(config)

    def play(number: int) -> list:
        rng = random.Random(number)
        env = open_env(config)
        results = []
        for task in rng.sample(tasks, 2):
            results.append(env.reset(task, seed=number))
            for _ in range(25):
                results.append(env.step(rng.choice(results[-1].admissible)))
        return results

    found: dict[int, list] = {}
    failed: list[BaseException] = []

    def run(numbers: range) -> None:
        try:
            for number in numbers:
                found[number] = play(number)
        except BaseException as error:  # noqa: BLE001 - a thread's error would go unseen
            failed.append(error)

    threads = [threading.Thread(target=run, args=(range(start, 64, 8),)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert found == {number: play(number) for number in range(64)}


def resident_mb() -> float:
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4096 / 2**20


@pytest.mark.parametrize(
    "cycles, most_mb",
    [(1_000, 5), pytest.param(10_000, 20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_loading_and_playing_again_and_again_does_not_grow_the_process(unseen, cycles, most_mb):
    rows = [unseen.row(path) for path in unseen.paths()[:20]]
    rng = random.Random(0)

    def cycle(number: int) -> None:
        row = rows[number % len(rows)]
        world = World(Game.from_problem(row.problem, row.task, row.path))
        for _ in range(5):
            world.step(rng.choice(world.admissible))

    for number in range(100):
        cycle(number)
    before = resident_mb()
    for number in range(cycles):
        cycle(number)
    assert resident_mb() - before < most_mb


def test_an_environment_is_small(alfworld):
    config = AlfworldConfig(games=str(alfworld / "valid_unseen.jsonl.xz"))
    tasks = list_tasks(config)
    envs = [open_env(config) for _ in range(200)]
    for number, env in enumerate(envs):
        env.reset(tasks[number % len(tasks)], seed=0)
    before = resident_mb()
    more = [open_env(config) for _ in range(200)]
    for number, env in enumerate(more):
        result = env.reset(tasks[number % len(tasks)], seed=0)
        env.step(result.admissible[0])
    assert (resident_mb() - before) / len(more) < 1


WORDS = st.sampled_from(
    "go to take from put in/on in on move open close examine use heat cool clean slice with look inventory help "
    "fridge drawer cabinet shelf desk apple mug desklamp 1 2 3 10 -1 {r.name} # [ ] \\ ' \" é ∞ \n \t \x00".split(
        " "
    )
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_is_typed_breaks_a_game(unseen, alfworld, data):
    config = AlfworldConfig(games=str(alfworld / "valid_unseen.jsonl.xz"))
    tasks = list_tasks(config)
    env = open_env(config)
    result = env.reset(data.draw(st.sampled_from(tasks)), seed=0)
    for _ in range(8):
        typed = st.one_of(
            st.text(max_size=40),
            st.lists(WORDS, max_size=7).map(" ".join),
            st.sampled_from(result.admissible),
        )
        action = data.draw(typed)
        admissible = result.admissible
        result = env.step(action)
        assert result.observation
        assert result.valid == (action.strip() in admissible or result.executed in admissible)
        assert "look" in result.admissible and result.score == float(result.success)
