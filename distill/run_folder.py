"""A finished run as its `run.json` tells it: the study's settings, its stages' folders, and the episodes in them. Plans and plays nothing."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.store import TRAJECTORIES
from actors.trajectory import Trajectory, from_row
from distill.config import StudyConfig
from distill.episode_files import read_trajectories
from distill.stages import MANIFEST
from envs.config import EnvConfig
from envs.panel import Panel
from envs.registry import on_data

DATA = "data"
"""In the folder of the stage `tasks`: what the study made to play on."""

_ROLLOUT = re.compile(r"eval-(?P<evaluated>.+)-s(?P<seed>\d+)|train-(?P<trained>.+)")


class RunError(ValueError):
    """The folder is no finished run, or lacks what is asked of it; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The episodes of one arm on one panel under one seed."""

    stage: str
    """Such as `eval-teacher-s1`."""
    arm: str
    """As the study calls it; the records may say what it does instead, because studies share them."""
    seed: int
    part: Literal["train", "test"]
    folder: Path

    def trajectories(self) -> Iterator[Trajectory]:
        """In the file's order, a batch in memory at a time."""
        return read_trajectories(self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    path: Path
    config: StudyConfig
    stages: Mapping[str, Path]
    """Folders by stage name, finished or not."""

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """Those that are finished, in the order in which they were played."""
        return tuple(
            self._rollout(name, match)
            for name, folder in self.stages.items()
            if (match := _ROLLOUT.fullmatch(name)) and (folder / MANIFEST).is_file()
        )

    def evaluations(self, arm: str) -> tuple[Rollout, ...]:
        """The arm's episodes on the held-out panel, a seed each. Raises `RunError` where there are none."""
        found = tuple(r for r in self.rollouts if r.part == "test" and r.arm == arm)
        if not found:
            known = ", ".join(dict.fromkeys(r.arm for r in self.rollouts if r.part == "test"))
            raise RunError(f"{self.path} has no finished episodes of arm {arm!r}; it has {known or 'none'}")
        return found

    def folder(self, stage: str) -> Path:
        """Of a finished stage. Raises `RunError` for another."""
        folder = self.stages.get(stage)
        if folder is None or not (folder / MANIFEST).is_file():
            raise RunError(f"stage {stage} of {self.path} is not finished; run the study again to go on")
        return folder

    def manifest(self, stage: str) -> dict[str, Any]:
        return json.loads((self.folder(stage) / MANIFEST).read_text(encoding="utf-8"))

    @property
    def env(self) -> EnvConfig:
        """The environment, on what the study made if it made anything."""
        return env_of(self.config.env, self.folder("tasks"))

    @property
    def panel(self) -> Panel:
        """The held-out one."""
        return Panel.load(self.folder("tasks") / "test.panel.json")

    def _rollout(self, name: str, match: re.Match[str]) -> Rollout:
        folder, arm = self.stages[name], match["evaluated"] or match["trained"]
        if match["seed"] is not None:
            return Rollout(stage=name, arm=arm, seed=int(match["seed"]), part="test", folder=folder)
        seed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["config"]["seed"]
        return Rollout(stage=name, arm=arm, seed=seed, part="train", folder=folder)


def env_of(env: EnvConfig, tasks_folder: Path) -> EnvConfig:
    """The environment, on what the stage `tasks` made if it made anything."""
    made = tasks_folder / DATA
    return on_data(env, made) if made.is_dir() else env


def open_run(run_dir: Path) -> RunFolder:
    """Raises `RunError` where `run_dir` is no run."""
    try:
        run = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
        settings, store, stages = run["config"], run["store"], run["stages"]
    except (FileNotFoundError, NotADirectoryError):
        nearby = sorted(
            str(p.parent) for p in (run_dir if run_dir.is_dir() else Path("runs")).glob("*/run.json")
        )
        raise RunError(
            f"{run_dir} is no run: it holds no run.json; "
            + (f"runs here: {', '.join(nearby)}" if nearby else "name a study's folder such as runs/demo")
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run_dir / 'run.json'} is damaged ({error}); run the study again") from None
    root = (run_dir / store).resolve()
    return RunFolder(
        path=run_dir,
        config=StudyConfig.model_validate(settings),
        stages={name: root / folder for name, folder in stages.items()},
    )


def find_by_id(run: RunFolder, prefix: str) -> tuple[Rollout, Trajectory]:
    """The episode whose id begins so. Raises `RunError` for none and for several."""
    found: dict[str, Rollout] = {}
    for rollout in run.rollouts:
        ids = pq.read_table(rollout.folder / TRAJECTORIES, columns=["id"])["id"]
        found |= dict.fromkeys(ids.filter(pc.starts_with(ids, prefix)).to_pylist(), rollout)
    if len(found) != 1:
        some = ", ".join(sorted(found)[:3])
        raise RunError(
            f"{prefix!r} begins the ids of {len(found)} episodes of {run.path}, such as {some}; give more of it"
            if found
            else f"no episode of {run.path} has an id that begins with {prefix!r}; the report's browser shows them"
        )
    ((id_, rollout),) = found.items()
    return rollout, _load(rollout, id_)


def find_by_task(run: RunFolder, task: str, arm: str | None, seed: int | None) -> tuple[Rollout, Trajectory]:
    """The episode of a task, by its key or a part of it. Raises `RunError` for none and for several."""
    wanted = [r for r in run.rollouts if arm in (None, r.arm) and seed in (None, r.seed)]
    if not wanted:
        arms = ", ".join(dict.fromkeys(r.arm for r in run.rollouts))
        raise RunError(f"{run.path} has no episodes of arm {arm!r} under seed {seed}; its arms: {arms}")
    found = [(rollout, key, id_) for rollout in wanted for key, id_ in _keys(rollout) if task in key]
    found = [entry for entry in found if entry[1] == task] or found
    # Two stages that do the same work share a folder and its episodes.
    found = list({id_: (rollout, key, id_) for rollout, key, id_ in found}.values())
    if len(found) != 1:
        some = "; ".join(f"{r.stage} {key}" for r, key, _ in found[:3])
        raise RunError(
            f"--task {task!r} fits {len(found)} episodes, such as {some}; give more of it, --arm or --seed"
            if found
            else f"no episode of {', '.join(r.stage for r in wanted)} has a task whose key holds {task!r}"
        )
    ((rollout, _, id_),) = found
    return rollout, _load(rollout, id_)


def _keys(rollout: Rollout) -> Sequence[tuple[str, str]]:
    """(task key, episode id) of every episode."""
    with pq.ParquetFile(rollout.folder / TRAJECTORIES) as file:
        table = file.read(columns=["id", "task.env", "task.id"])
    return [(f"{row['task']['env']}/{row['task']['id']}", row["id"]) for row in table.to_pylist()]


def _load(rollout: Rollout, id_: str) -> Trajectory:
    rows = pq.read_table(rollout.folder / TRAJECTORIES, filters=pc.field("id") == id_).to_pylist()
    return from_row(rows[0])
