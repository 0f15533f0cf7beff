"""Attribution of a finished study: which flips are looked at, and the stage that plays them again."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.episode import EpisodeSpec
from actors.trajectory import Trajectory
from distill.arms import HintedArm
from distill.atomic import write_atomically
from distill.attribution import Attribution, Flip, attribute, find_flips, subsets
from distill.config import StudyConfig
from distill.episode_files import read_trajectories
from distill.stages import Stage, StageError, StageStore
from distill.study import StudyPlan

ATTRIBUTION = "attribution.json"
VERSION = 1


def attribution_stage(config: StudyConfig, plan: StudyPlan, arm: str, num_flips: int | None) -> Stage:
    """The stage for one hinted arm that plays the model as it is. Raises `StageError` for another arm."""
    about = config.arm_config(arm) if arm in config.arms else None
    if not isinstance(about, HintedArm) or about.student is not None:
        hinted = [
            name
            for name in config.arms
            if isinstance(own := config.arm_config(name), HintedArm) and own.student is None
        ]
        raise StageError(
            f"arm {arm!r} of {config.name} is not one that gives the model hints; it has {', '.join(hinted) or 'none'}"
        )
    if about.retriever.timing.when != "start":
        raise StageError(
            f"arm {arm!r} is shown hints by timing.when = {about.retriever.timing.when!r}; attribution plays parts of what is shown at the start"
        )
    played = {
        f"{name}-s{seed}": plan.evaluations[name, seed] for name in ("base", arm) for seed in config.seeds
    }
    return Stage(
        name=f"attribution-{arm}",
        kind="attribution",
        version=VERSION,
        config={"arm": arm, "flips": num_flips},
        inputs={"tasks": plan.tasks, **played},
    )


def flips_of(stage: Stage, store: StageStore) -> list[Flip]:
    """The flips that the stage looks at: all, or as many as asked for, chosen by hash."""
    arm, wanted = stage.config["arm"], stage.config["flips"]
    found = find_flips(_episodes_of("base", stage, store), _episodes_of(arm, stage, store))
    if not found:
        raise StageError(f"arm {arm!r} won no task with hints that base lost; there is nothing to attribute")
    drawn = sorted(found, key=lambda f: hashlib.sha256(f"{f.task.key}|{f.seed}".encode()).hexdigest())
    return sorted(drawn[:wanted], key=lambda f: (f.task.key, f.seed))


def _episodes_of(arm: str, stage: Stage, store: StageStore) -> Iterator[Trajectory]:
    """Of all its seeds."""
    for role, source in stage.inputs.items():
        if role.rpartition("-s")[0] == arm:
            yield from read_trajectories(store.folder(source))


def specs_of(flips: Sequence[Flip]) -> list[EpisodeSpec]:
    """Every flip under every part of its hints."""
    return [
        EpisodeSpec(
            task=flip.task,
            role="teacher" if part else "base",
            arm="attribution",
            seed=flip.seed,
            hints=part,
        )
        for flip in flips
        for part in subsets(flip.hints)
    ]


def conclude(flips: Sequence[Flip], played: Iterable[Trajectory], folder: Path) -> Attribution:
    """Credit from the episodes, written to `attribution.json`. Flips with an episode that the machinery lost are left out."""
    broken: set[tuple[str, int]] = set()
    won: dict[tuple[str, int], dict[frozenset[str], bool]] = {}
    for t in played:
        if t.error is not None:
            broken.add((t.task.key, t.seed))
        won.setdefault((t.task.key, t.seed), {})[frozenset(hint.id for hint in t.hints)] = t.success
    found = attribute([flip for flip in flips if (flip.task.key, flip.seed) not in broken], won)
    document: dict[str, Any] = asdict(found) | {"num_broken": len(broken)}
    write_atomically(folder / ATTRIBUTION, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return found
