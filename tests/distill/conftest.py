"""A synthetic study: trajectories with the shape of real ones and outcomes drawn from chosen success rates."""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from actors.trajectory import EndReason, GivenHint, Trajectory, Turn
from distill.hints.hint import Hint
from envs.panel import Panel
from envs.task import Task

KINDS = ("pick_and_place_simple", "pick_heat_then_place_in_recep", "look_at_obj_in_light")
RATES = {
    "base": 0.3,
    "teacher": 0.55,
    "baseline": 0.42,
    "distill": 0.58,
    "teacher_random": 0.33,
    "best_of_2": 0.45,
}
HINT = Hint(
    text="Open a closed {container} before you look for the {object} in it.",
    kind=KINDS[1],
    env="alfworld",
    sources=(),
    writer="diagnostician",
)


def make_panel(
    num_tasks: int = 40, *, name: str = "small/test", goal: str = "put a hot apple in fridge {i}."
) -> Panel:
    tasks = tuple(
        Task(
            env="alfworld",
            split="test",
            id=f"game-{i:05d}",
            kind=KINDS[i % len(KINDS)],
            goal=goal.format(i=i),
        )
        for i in range(num_tasks)
    )
    return Panel(
        name=name,
        dialect="move",
        tasks=tasks,
        hashes=tuple(hashlib.sha256(t.key.encode()).hexdigest() for t in tasks),
    )


def make_trajectory(
    task: Task, *, arm: str = "base", seed: int = 0, success: bool = True, **changes: object
) -> Trajectory:
    turn = {"prompt_tokens": 300, "cached_tokens": 250, "completion_tokens": 12, "seconds": 0.1}
    look = Turn(
        reply="> think: I should look into the fridge first.",
        fields=(("thought", "I should look into the fridge first."),),
        action=None,
        observation="OK.",
        **turn,
    )
    go = Turn(
        reply="> go to fridge 1", action="go to fridge 1", observation="The fridge 1 is closed.", **turn
    )
    won = (
        Turn(
            reply="> open fridge 1",
            action="open fridge 1",
            observation="You open the fridge 1. In it, you see an apple 1.",
            **turn,
        ),
        Turn(
            reply="> put apple 1 in fridge 1",
            action="put apple 1 in fridge 1",
            executed="move apple 1 to fridge 1",
            observation="You move the apple 1 to the fridge 1.",
            reward=1.0,
            **turn,
        ),
    )
    lost = (
        Turn(
            reply="> take apple 1 from fridge 1",
            action="take apple 1 from fridge 1",
            observation="Nothing happens.",
            valid=False,
            **turn,
        ),
    ) * (3 + seed)
    role = {"base": "base", "teacher": "teacher", "teacher_random": "teacher"}.get(arm, "student")
    values = {
        "task": task,
        "role": role,
        "arm": arm,
        "agent": "react-3f2a91",
        "model": "pocket",
        "adapter": None if role in ("base", "teacher") else f"adapters/{arm}",
        "seed": seed,
        "hints": (GivenHint(id=HINT.id, text=HINT.text),) if role == "teacher" else (),
        "opening": "You are in the middle of a room. Looking quickly around you, you see a fridge 1.",
        "turns": (look, go, *(won if success else lost)),
        "end": EndReason.DONE if success else EndReason.STEP_LIMIT,
        "success": success,
        "score": float(success),
    }
    return Trajectory(**(values | changes))


def make_arms(
    panel: Panel, rates: Mapping[str, float] = RATES, *, seeds: tuple[int, ...] = (0, 1, 2), rng_seed: int = 0
) -> dict[str, list[Trajectory]]:
    """Every arm sees the same difficulty of a task, so that its outcomes are correlated as in a real study."""
    rng = np.random.default_rng(rng_seed)
    difficulty = rng.normal(0, 1, len(panel.tasks))
    return {
        arm: [
            make_trajectory(
                task, arm=arm, seed=seed, success=bool(rng.random() < 1 / (1 + np.exp(hard - logit)))
            )
            for task, hard in zip(panel.tasks, difficulty, strict=True)
            for seed in seeds
        ]
        for arm, rate in rates.items()
        for logit in [1.2 * np.log(rate / (1 - rate))]
    }


@pytest.fixture
def panel_of() -> Callable[..., Panel]:
    return make_panel


@pytest.fixture
def trajectory_of() -> Callable[..., Trajectory]:
    return make_trajectory


@pytest.fixture
def arms_of() -> Callable[..., dict[str, list[Trajectory]]]:
    return make_arms


@pytest.fixture
def a_hint() -> Hint:
    return HINT
