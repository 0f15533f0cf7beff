"""What a study will take, judged by a small pilot of it: tokens, hours and GPU hours of every stage that is owed.

A pilot is a finished run of the same study with fewer tasks. Tokens scale with the pilot's figures an episode, so its success rates and
the lengths of its episodes carry over; seconds include its start-up, which a small pilot feels more, so hours come out rather high.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.config import StudyConfig
from distill.stages import MANIFEST, Stage, StageStore
from distill.study import StudyPlan
from distill.study_costs import gpus_of


class ForecastError(ValueError):
    """The pilot cannot tell what is asked; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageForecast:
    """One owed stage."""

    name: str
    episodes: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    hours: float = 0.0
    gpus: int = 0

    @property
    def gpu_hours(self) -> float:
        return self.hours * self.gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """A finished run's stages by name."""

    name: str
    stages: Mapping[str, Mapping[str, Any]]

    @classmethod
    def load(cls, run_dir: Path) -> "Pilot":
        """Raises `ForecastError` where `run_dir` is no finished run."""
        try:
            run = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
            store = (run_dir / run["store"]).resolve()
            stages = {
                name: json.loads((store / folder / MANIFEST).read_text(encoding="utf-8"))
                for name, folder in run["stages"].items()
            }
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise ForecastError(
                f"{run_dir} is no finished run ({error}); run a small pilot first, such as "
                "`offbook run STUDY --set tasks.train=16 --set tasks.test=8 --set name=pilot`"
            ) from None
        return cls(name=run["config"]["name"], stages=stages)

    def rows_of(self, fit: Mapping[str, Any]) -> int:
        """Episodes whose rows a fit of the pilot was trained on."""
        folder = fit["inputs"]["rows"]
        return next(_taken(m["counts"]) for m in self.stages.values() if f"{m['kind']}-{m['key']}" == folder)

    def like(self, stage: Stage) -> Mapping[str, Any]:
        """The pilot's stage of the same name, else one of the same kind: another seed of the arm before another arm."""
        if stage.name in self.stages:
            return self.stages[stage.name]
        same_kind = [name for name in self.stages if self.stages[name]["kind"] == stage.kind]
        alike = sorted(same_kind, key=lambda name: (-_shared_parts(name, stage.name), name))
        if not alike:
            raise ForecastError(
                f"the pilot {self.name} ran no stage like {stage.name}; pilot the study with the same arms"
            )
        return self.stages[alike[0]]


def forecast(config: StudyConfig, plan: StudyPlan, store: StageStore, pilot: Pilot) -> list[StageForecast]:
    """Every stage that is not done yet, in order."""
    sizes: dict[str, float] = {}
    found = []
    for stage in plan.stages:
        like = pilot.like(stage)
        size = _size(stage, sizes, pilot)
        sizes[stage.key] = size
        if not store.is_done(stage):
            found.append(_scaled(stage, size, like, pilot, gpus_of(config, stage)))
    return found


def _size(stage: Stage, sizes: Mapping[str, float], pilot: Pilot) -> float:
    """How much there is to do, in the unit that the stage's seconds grow with: tasks, episodes, failures, rows, or rows of an adapter."""
    match stage.kind:
        case "rollout" if "failures_of" in stage.inputs:
            return sizes[stage.inputs["failures_of"].key] * (
                1 - _success_rate(stage.inputs["failures_of"], pilot)
            )
        case "hints" if "base" in stage.inputs:
            return sizes[stage.inputs["base"].key] * (1 - _success_rate(stage.inputs["base"], pilot))
        case "dataset":
            sources = [source for source in stage.inputs.values() if source.kind == "rollout"]
            return sum(sizes[source.key] * _success_rate(source, pilot) for source in sources)
        case "fit":
            return sizes[stage.inputs["rows"].key]
        case _:
            return float(sum(stage.estimate.values()))


def _scaled(stage: Stage, size: float, like: Mapping[str, Any], pilot: Pilot, gpus: int) -> StageForecast:
    counts = like["counts"]
    match stage.kind:
        case "rollout":
            unit = counts["episodes"]
        case "hints":
            unit = counts.get("failures", size)  # An imported bank was written elsewhere.
        case "dataset":
            unit = _taken(counts)
        case "fit":
            unit = pilot.rows_of(like)
        case _:
            unit = size
    factor = size / unit if unit else 0.0
    is_rollout = stage.kind == "rollout"
    return StageForecast(
        name=stage.name,
        episodes=size if is_rollout else 0.0,
        prompt_tokens=_tokens(counts, "prompt_tokens") * factor if is_rollout else 0.0,
        completion_tokens=_tokens(counts, "completion_tokens") * factor if is_rollout else 0.0,
        hours=like["seconds"] * factor / 3600,
        gpus=gpus,
    )


def _tokens(counts: Mapping[str, Any], name: str) -> int:
    """Those of a model that chose the hints included."""
    return int(counts[name] + counts.get(f"retrieval_{name}", 0))


def _taken(counts: Mapping[str, Any]) -> int:
    """Episodes behind a dataset's rows; one that does not count them has a row of each."""
    return counts.get("episodes taken", counts["rows"])


def _success_rate(stage: Stage, pilot: Pilot) -> float:
    counts = pilot.like(stage)["counts"]
    return counts["successes"] / counts["episodes"] if counts["episodes"] else 0.0


def _shared_parts(a: str, b: str) -> int:
    """Length of the common beginning of two stages' names, in parts: `eval-teacher-s1` and `eval-teacher-s0` share two."""
    pairs = zip(a.split("-"), b.split("-"), strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(a.count("-"), b.count("-")) + 1)
