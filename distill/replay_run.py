"""Every episode of a finished run replayed in one world, as one document. Holds a batch of episodes in memory."""

import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from distill.replay import replay
from distill.run_folder import RunError, RunFolder
from envs.registry import open_env

COUNTS = ("episodes", "exact", "lost", "steps")
"""`lost`: by the machinery, so that there is nothing to replay; `steps`: answered as recorded."""


def replay_run(run: RunFolder, arm: str | None = None) -> dict[str, Any]:
    """Counts of the whole and of each stage, and every difference. Raises `RunError` for an arm without episodes."""
    rollouts = [rollout for rollout in run.rollouts if arm in (None, rollout.arm)]
    if not rollouts:
        arms = ", ".join(dict.fromkeys(rollout.arm for rollout in run.rollouts)) or "none"
        raise RunError(f"{run.path} has no finished episodes of arm {arm!r}; it has {arms}")
    stages: dict[str, Counter[str]] = {}
    differences: list[dict[str, Any]] = []
    env, began = open_env(run.env), time.monotonic()
    try:
        for rollout in rollouts:
            counts = stages.setdefault(rollout.stage, Counter())
            for trajectory in rollout.trajectories():
                found = replay(env, trajectory)
                counts.update(episodes=1, exact=found.is_exact, lost=found.is_lost, steps=found.num_steps)
                if found.difference:
                    differences.append({"stage": rollout.stage} | asdict(found))
    finally:
        env.close()
    whole = sum(stages.values(), Counter[str]())
    played = whole["episodes"] - whole["lost"]
    return {
        **{name: whole[name] for name in COUNTS},
        "exact_rate": whole["exact"] / played if played else None,
        "seconds": round(time.monotonic() - began, 3),
        "stages": {name: {count: counts[count] for count in COUNTS} for name, counts in stages.items()},
        "differences": differences,
    }
