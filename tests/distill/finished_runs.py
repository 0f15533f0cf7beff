"""A study run to its end in this process, by the stages' own code, with a model that needs no engine and without Ray."""

import tomllib
from pathlib import Path

import pytest

from actors.rollout import rollout_local
from distill.config import StudyConfig
from distill.pipeline import _write_run
from distill.runners import FleetHolder, StudyRunners
from distill.stages import StageStore, run_stages
from distill.study import plan_stages

SCRIPTED = """
name = "scripted"
seeds = [0, 1]
arms = ["base", "teacher"]
env = { name = "scripted", num_tasks = 100 }
tasks = { train = 30, test = 15 }
agent = { prompt = "brief" }
model = { kind = "scripted", skill = 0.2 }
budget = { max_steps = 30 }
rollout = { flush_every_s = 0.05 }
writer = { kind = "diagnostician" }
"""


def finished_run(out: Path, study: str = SCRIPTED, *, models=None, stages=None, together=None) -> Path:
    """The run's folder. `models` replaces the configured model, `stages` and `together` the code of kinds of stages."""
    config = StudyConfig.model_validate(tomllib.loads(study))
    plan, store = plan_stages(config), StageStore(out / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "distill.runners.rollout",
            lambda specs, settings, folder, fleet: rollout_local(specs, settings, folder, models=models),
        )
        own = StudyRunners(config, store, FleetHolder())
        run_stages(plan.stages, store, {**own.runners, **(stages or {})}, together)
    _write_run(out / config.name, config, plan, store)
    return out / config.name
