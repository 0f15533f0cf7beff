"""ALFWorld as Gymnasium sees it."""

import subprocess
import sys
import warnings

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import envs.gym  # noqa: F401 - registers the name
from envs.base import EnvError
from envs.gym_plugin import ALFWORLD_ID


@pytest.fixture
def games(test_data) -> str:
    return str(test_data / "alfworld" / "valid_unseen.jsonl.xz")


def test_check_env_passes_without_a_warning(games):
    env = gymnasium.make(ALFWORLD_ID, games=games)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_a_seed_chooses_the_task_and_every_task_can_come(games):
    env = gymnasium.make(ALFWORLD_ID, games=games)
    first = [env.reset(seed=11)[1]["task"]] + [env.reset()[1]["task"] for _ in range(5)]
    again = [env.reset(seed=11)[1]["task"]] + [env.reset()[1]["task"] for _ in range(5)]
    assert first == again and len(set(first)) > 1
    assert len({env.reset(seed=seed)[1]["task"] for seed in range(60)}) > 20


def test_an_episode_is_won_and_info_tells_all(games):
    from envs.alfworld.index import open_index

    index = open_index(games)
    path = index.paths()[30]
    env = gymnasium.make(ALFWORLD_ID, games=games, task=path, render_mode="ansi")
    observation, info = env.reset(seed=0)
    assert info["task"] == path and info["goal"] in observation and info["kind"] == index.task(path).kind
    assert observation in env.observation_space and env.render() == observation
    total = 0.0
    for command in index.row(path).walkthrough:
        assert command in info["admissible_commands"] and command in env.action_space
        observation, reward, terminated, truncated, info = env.step(command)
        total += reward
    assert terminated and not truncated and total == 1.0 and info["success"] and info["score"] == 1.0
    env.close()
    env.close()


def test_steps_are_limited_by_make_and_put_is_reported(games):
    env = gymnasium.make(ALFWORLD_ID, games=games, split="test", max_episode_steps=2)
    env.reset(seed=1)
    *_, truncated, info = env.step("put apple 1 in/on fridge 1")
    assert not truncated and info["executed"] == "move apple 1 to fridge 1" and not info["valid"]
    assert env.step("look")[3] is True


def test_unknown_tasks_and_splits_are_errors(games):
    with pytest.raises(EnvError, match="no task"):
        gymnasium.make(ALFWORLD_ID, games=games, task="valid_unseen/a/b")
    with pytest.raises(EnvError, match="split 'train'"):
        gymnasium.make(ALFWORLD_ID, games=games, split="train")
    with pytest.raises(EnvError, match="no task"):
        gymnasium.make(ALFWORLD_ID, games=games).reset(options={"task": "x"})


@pytest.mark.parametrize(
    "prelude, name", [("", "envs.gym:offbook/ALFWorld-v0"), ("import envs", "offbook/ALFWorld-v0")]
)
def test_the_name_is_known_to_a_new_process(games, prelude, name, repository):
    script = f"import gymnasium\n{prelude}\nprint(gymnasium.make({name!r}, games={games!r}).reset(seed=0)[1]['task'])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=repository, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("valid_unseen/")
