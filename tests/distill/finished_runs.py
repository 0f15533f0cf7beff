"""A study run to its end in this process, by the stages' own code, with a model that needs no engine and without Ray."""

import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.rollout import rollout_local
from distill.config import StudyConfig
from distill.pipeline import _write_run
from distill.runners import FleetHolder, StudyRunners
from distill.stages import RunTogether, StageStore, run_stages
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


def finished_run(out: Path, study: str = SCRIPTED, *, models=None, dataset=None, fit=None) -> Path:
    """The run's folder. `models` replaces the configured model, `dataset` and `fit` the code of these stages."""
    config = StudyConfig.model_validate(tomllib.loads(study))
    plan, store = plan_stages(config), StageStore(out / "store")
    own = StudyRunners(config, store, FleetHolder())
    runners = {**own.runners, **({"dataset": dataset} if dataset else {})}
    together = {**own.together, **({"fit": RunTogether(run=fit)} if fit else {})}
    with without_engines(models):
        run_stages(plan.stages, store, runners, together)
    _write_run(out / config.name, config, plan, store)
    return out / config.name


@contextmanager
def without_engines(models=None, asked=None):
    """Rollouts of stages are played here; what is asked for is added to the list `asked`."""

    def play(rollouts, fleet, *, at_once=1):
        (asked if asked is not None else []).extend(spec for one in rollouts for spec in one.specs)
        return [rollout_local(one.specs, one.settings, one.out_dir, models=models) for one in rollouts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill.runners.rollout_all", play)
        yield
