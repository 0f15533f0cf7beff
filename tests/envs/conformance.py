"""What every text environment must do, whatever its world. A test module calls `check_env` with its own config."""

import dataclasses
import random

import pytest

from envs.base import EnvError, StepResult
from envs.config import EnvConfig
from envs.registry import check_panel, list_tasks, make_panel, open_env
from envs.task import Task

NUM_STEPS = 12


def check_env(config: EnvConfig, num_tasks: int = 3) -> None:
    tasks = list_tasks(config)
    check_listing(config, tasks)
    some = tasks[:: max(1, len(tasks) // num_tasks)][:num_tasks]
    for task in some:
        first = play(config, task, seed=7)
        assert first == play(config, task, seed=7), f"{task.id}: a second play under the same seed differs"
    check_reuse(config, some)
    check_lifecycle(config, some[0])
    check_panels(config, some)


def play(config: EnvConfig, task: Task, *, seed: int) -> list[StepResult]:
    """Random admissible actions and some nonsense, the same for the same seed."""
    rng = random.Random(seed)
    env = open_env(config)
    results = [env.reset(task, seed=seed)]
    while len(results) < NUM_STEPS and not results[-1].done:
        known = results[-1].admissible or ("look",)
        results.append(env.step(rng.choice(known) if rng.random() < 0.8 else "xyzzy"))
    env.close()
    for result in results:
        check_result(result)
    return results


def check_result(result: StepResult) -> None:
    assert dataclasses.is_dataclass(result) and isinstance(result.observation, str) and result.observation
    assert isinstance(result.score, float) and 0 <= result.score <= 1
    assert list(result.admissible) == sorted(set(result.admissible))
    assert not (result.success and not result.done)


def check_listing(config: EnvConfig, tasks: list[Task]) -> None:
    assert tasks and all(task.env == config.name for task in tasks)
    assert [task.id for task in tasks] == sorted({task.id for task in tasks})
    by_split = [task for split in ("train", "dev", "test") for task in list_tasks(config, split)]
    assert sorted(by_split, key=lambda task: task.id) == tasks
    assert all(task.kind and task.goal for task in tasks)


def check_reuse(config: EnvConfig, tasks: list[Task]) -> None:
    """An env that played another task first plays as a fresh one does."""
    env = open_env(config)
    for task in tasks:
        env.reset(task, seed=0)
        env.step("look")
    again = env.reset(tasks[0], seed=0)
    assert again == open_env(config).reset(tasks[0], seed=0)
    assert tasks[0].goal in again.observation


def check_lifecycle(config: EnvConfig, task: Task) -> None:
    env = open_env(config)
    with pytest.raises(EnvError, match="reset"):
        env.step("look")
    with pytest.raises(EnvError, match="no-such-task"):
        env.reset(dataclasses.replace(task, id="no-such-task"), seed=0)
    env.reset(task, seed=0)
    nonsense = env.step("xyzzy \x00 é")
    assert not nonsense.valid and not nonsense.done
    env.close()
    env.close()


def check_panels(config: EnvConfig, tasks: list[Task]) -> None:
    panel = make_panel("conformance", config, tasks)
    assert all(len(digest) == 64 for digest in panel.hashes)
    assert check_panel(panel, config) == panel
