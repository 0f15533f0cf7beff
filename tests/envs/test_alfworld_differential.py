"""Our engine against TextWorld, live: the same random commands, every word compared."""

import random
import string

import pytest

from envs.alfworld.env import list_tasks, open_env
from envs.alfworld.index import open_index
from envs.alfworld.world import World
from envs.base import TextEnv
from envs.config import AlfworldConfig
from envs.task import Task

pytest.importorskip("textworld", reason="the reference backend is not installed (extra `alfworld`)")

NUM_ACTIONS = 40
ODD = (
    "", " ", "LOOK", "go to", "take", "go to fridge", "put apple 1 in/on fridge 1", "go  to shelf 1", "open drawer 1 please",
    "examine desklamp 1", "use fridge 1", "go to bed 1\n", "look\nlook", "heat", "{r.name}", "[look]", "#look.feedback#", "help me", "é ∞",
)  # fmt: skip


def random_action(rng: random.Random, world: World) -> str:
    """A command that is possible (rather doing something than walking), or plausible and impossible, or nonsense."""
    draw = rng.random()
    if draw < 0.75:
        doing = [c for c in world.admissible if not c.startswith(("go to", "help", "look", "inventory"))]
        group = doing if doing and rng.random() < 0.6 else list(world.admissible)
        command = rng.choice(group)
        return f"  {command} " if rng.random() < 0.1 else command
    things = [t.name for t in world.game.things] or ["apple 1"]
    places = [r.name for r in world.game.receptacles]
    if draw < 0.93:
        thing, place = rng.choice(things), rng.choice(places)
        return rng.choice(
            (f"go to {place}", f"open {place}", f"close {place}", f"take {thing} from {place}", f"move {thing} to {place}",
             f"clean {thing} with {place}", f"heat {thing} with {place}", f"cool {thing} with {place}", f"use {thing}",
             f"slice {thing} with {rng.choice(things)}", f"examine {thing}", f"examine {place}", f"put {thing} in/on {place}")
        )  # fmt: skip
    if draw < 0.98:
        return rng.choice(ODD)
    return "".join(rng.choice(string.printable) for _ in range(rng.randrange(1, 30)))


def compare(ours: TextEnv, original: TextEnv, task: Task, world: World, rng: random.Random) -> int:
    """Play both and assert that nothing differs; returns the number of steps. `world` only helps to choose actions."""
    assert ours.reset(task, seed=0) == original.reset(task, seed=0)
    world.reset()
    for step in range(NUM_ACTIONS):
        action = random_action(rng, world)
        world.step(action)
        mine, theirs = ours.step(action), original.step(action)
        assert mine == theirs, f"{task.id} step {step}: {action!r}"
    return NUM_ACTIONS


def play_games(test_data, tasks: list[Task], games: str, seed: int) -> int:
    config = AlfworldConfig(games=games, view="original", accept_put=bool(seed % 2))
    ours, original = open_env(config), open_env(config.model_copy(update={"backend": "textworld"}))
    index = open_index(games)
    rng = random.Random(seed)
    steps = sum(compare(ours, original, task, World(index.game(task.id)), rng) for task in tasks)
    original.close()
    return steps


def chosen(test_data, number: int) -> tuple[str, list[Task]]:
    """Games of all kinds, those with odd facts first: a thing in two receptacles, a full holder, one that starts cool, knives."""
    games = str(test_data / "alfworld" / "valid_unseen.jsonl.xz")
    index = open_index(games)

    def oddity(task: Task) -> int:
        things = index.game(task.id).things
        return sum(len(t.inside) > 1 for t in things) * 3 + sum(
            2 * bool(t.contents) + bool(t.marks) for t in things
        )

    by_kind: dict[str, list[Task]] = {}
    for task in sorted(list_tasks(AlfworldConfig(games=games)), key=oddity, reverse=True):
        by_kind.setdefault(task.kind, []).append(task)
    picked: list[Task] = []
    while len(picked) < number:
        for group in by_kind.values():
            if group and len(picked) < number:
                picked.append(group.pop(0))
    return games, picked


def test_random_play_equals_textworld(test_data):
    games, tasks = chosen(test_data, 3)
    assert play_games(test_data, tasks, games, seed=1) == 3 * NUM_ACTIONS


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_random_play_of_25_games_equals_textworld(test_data):
    games, tasks = chosen(test_data, 25)
    assert play_games(test_data, tasks, games, seed=2) == 25 * NUM_ACTIONS
