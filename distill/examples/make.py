"""Plays train tasks again and writes down each step with what was known and thought before it.

The actions are the game's own walkthrough, or those of a recorded success without the ones that the world refused. The world's answers are
always those of the replay, and an episode that does not win again is no example.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from actors.agents.examples import Example, ExamplesError, ExampleStep
from actors.trajectory import TRAJECTORY_SCHEMA, Trajectory, from_row
from distill.examples import household, shop
from envs.base import TextEnv
from envs.config import EnvConfig
from envs.panel import Panel
from envs.registry import make_panel, open_env, walkthrough
from envs.task import Task

Narrate = Callable[[Task, household.Played], list[dict[str, str]]]
NARRATORS: Mapping[str, Narrate] = {
    "alfworld": household.narrate,
    "scripted": partial(household.narrate, start="hall"),
    "webshop": shop.narrate,
}
"""By environment: the fields of its agents' grammars, step by step."""

Plan = Callable[[Task], Sequence[str] | None]


def make_examples(
    env: EnvConfig, tasks: Sequence[Task], *, per_kind: int, plan: Plan | None = None
) -> list[Example]:
    """Up to `per_kind` examples of every kind among `tasks`, by kind and then by hash, the same ones on every machine.

    `plan` gives a task's actions or None; without it the environment's walkthroughs do. Raises `ExamplesError` for a task that is not of
    the train split, and where nothing can be made.
    """
    if strangers := [task.key for task in tasks if task.split != "train"]:
        raise ExamplesError(f"examples come from train tasks alone, but {strangers[0]} is none")
    plan = plan or partial(walkthrough, env)
    by_kind: dict[str, list[Task]] = defaultdict(list)
    for task in sorted(tasks, key=lambda task: hashlib.sha256(task.key.encode()).hexdigest()):
        by_kind[task.kind].append(task)
    world = open_env(env)
    try:
        examples = [
            example
            for kind in sorted(by_kind)
            for example in _of_kind(world, env, by_kind[kind], plan, per_kind)
        ]
    finally:
        world.close()
    if not examples:
        raise ExamplesError(
            f"none of {len(tasks)} train tasks could be solved again; give recorded successes at them, or more tasks"
        )
    return examples


def recorded_plans(sources: Iterable[Path]) -> Plan:
    """The actions of the shortest recorded success at each train task, without those that the world refused.

    `sources` are Parquet files of trajectories or folders of them.
    """
    best: dict[str, tuple[str, ...]] = {}
    for trajectory in _read(sources):
        if not trajectory.success or trajectory.task.split != "train":
            continue
        actions = tuple(
            turn.executed or turn.action
            for turn in trajectory.turns
            if turn.action is not None and turn.valid
        )
        known = best.get(trajectory.task.key)
        if known is None or (len(actions), actions) < (len(known), known):
            best[trajectory.task.key] = actions
    if not best:
        raise ExamplesError("there is no success at a train task among the recorded episodes; name others")
    return lambda task: best.get(task.key)


def check_apart(examples: Sequence[Example], panel: Panel) -> None:
    """Raise where an example shows the solution of a task that is to be measured, whatever it is called there."""
    keys, contents = {task.key for task in panel.tasks}, set(panel.hashes)
    for example in examples:
        if example.task.key in keys or example.played_on in contents:
            raise ExamplesError(
                f"agent.examples shows the solution of {example.task.key}, which is a task of the evaluation panel {panel.name!r} "
                f"({panel.sha256[:12]}); make examples from tasks that are not measured"
            )


def _of_kind(world: TextEnv, env: EnvConfig, tasks: Sequence[Task], plan: Plan, number: int) -> list[Example]:
    found: list[Example] = []
    for task in tasks:
        if len(found) == number:
            break
        # The same words twice would be one example.
        if task.goal in {example.task.goal for example in found} or not (actions := plan(task)):
            continue
        if example := _replay(world, env, task, actions):
            found.append(example)
    return found


def _replay(world: TextEnv, env: EnvConfig, task: Task, actions: Sequence[str]) -> Example | None:
    opening = world.reset(task, seed=0).observation
    results = [world.step(action) for action in actions]
    if not results or not results[-1].success or not all(result.valid for result in results):
        return None
    played = [
        (result.executed or action, result.observation)
        for action, result in zip(actions, results, strict=True)
    ]
    told = NARRATORS[task.env](task, played)
    return Example(
        task=task,
        played_on=make_panel("example", env, [task]).hashes[0],
        opening=opening,
        steps=tuple(
            ExampleStep(fields=tuple(sorted(fields.items())), action=action, observation=observation)
            for fields, (action, observation) in zip(told, played, strict=True)
        ),
    )


def _read(sources: Iterable[Path]) -> Iterable[Trajectory]:
    for source in sources:
        files = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
        for file in files:
            if (pq.read_schema(file).metadata or {}).get(b"offbook_record") != b"trajectory":
                continue
            for batch in pq.ParquetFile(file).iter_batches(columns=TRAJECTORY_SCHEMA.names, batch_size=256):
                yield from (from_row(row) for row in batch.to_pylist())
