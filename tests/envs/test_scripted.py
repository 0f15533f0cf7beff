"""The scripted house, its solutions and its faults."""

import time
from collections import Counter

import pytest

from envs.base import EnvError
from envs.config import ScriptedConfig
from envs.registry import list_tasks, make_panel, open_env
from envs.scripted import KINDS, solution


def test_every_task_is_won_by_its_solution_and_by_nothing_shorter():
    config = ScriptedConfig(num_tasks=90)
    env = open_env(config)
    for task in list_tasks(config):
        result = env.reset(task, seed=0)
        for action in solution(task):
            assert not result.done
            assert action in result.admissible
            result = env.step(action)
            assert result.valid
        assert result.done and result.success and result.score == 1.0


def test_splits_hold_every_kind_and_do_not_depend_on_the_number_of_tasks():
    few, many = ScriptedConfig(num_tasks=20), ScriptedConfig(num_tasks=200)
    assert set(list_tasks(few)) <= set(list_tasks(many))
    for split in ("train", "dev", "test"):
        counts = Counter(task.kind for task in list_tasks(many, split))
        assert set(counts) == set(KINDS) and min(counts.values()) >= 10


def test_the_traps_of_the_kinds():
    config = ScriptedConfig(num_tasks=60)
    env = open_env(config)
    tasks = list_tasks(config)
    wash = next(task for task in tasks if task.kind == "wash")
    env.reset(wash, seed=0)
    for action in (action for action in solution(wash) if not action.startswith("wash")):
        result = env.step(action)
    assert not result.done and result.score == 0, "an unwashed thing does not count"
    pair = next(task for task in tasks if task.kind == "pair")
    env.reset(pair, seed=0)
    scores = [env.step(action).score for action in solution(pair)]
    assert sorted(set(scores)) == [0.0, 0.5, 1.0]


def test_what_does_not_count_can_be_found_again():
    config = ScriptedConfig(num_tasks=3)
    task = next(task for task in list_tasks(config) if task.kind == "wash")
    env = open_env(config)
    env.reset(task, seed=0)
    for action in (action for action in solution(task) if not action.startswith("wash")):
        env.step(action)
    seen = env.step("go to kitchen")
    if "open chest" in seen.admissible:
        seen = env.step("open chest")
    thing = task.goal.split()[3]
    assert f"take {thing}" in seen.admissible


def test_faults_on_demand():
    config = ScriptedConfig(crash_on=("house-00001",), step_latency_s=0.05)
    tasks = {task.id: task for task in list_tasks(config)}
    env = open_env(config)
    with pytest.raises(EnvError, match="crash_on"):
        env.reset(tasks["house-00001"], seed=0)
    env.reset(tasks["house-00002"], seed=0)
    start = time.perf_counter()
    env.step("look")
    assert time.perf_counter() - start >= 0.05


def test_panels_pin_the_houses():
    config = ScriptedConfig(num_tasks=6)
    panel = make_panel("p", config, list_tasks(config))
    assert len(set(panel.hashes)) == 6
    assert make_panel("q", ScriptedConfig(num_tasks=30), panel.tasks).sha256 == panel.sha256
