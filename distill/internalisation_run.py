"""The internalisation meters of a finished run: which episodes they look at, what is still to be played or scored, and the document they make."""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.store import TRAJECTORIES
from distill import internalisation
from distill.arms import HintedArm, StudentArm
from distill.atomic import write_atomically
from distill.config import StudyConfig
from distill.episode_columns import EpisodeColumns, read_episodes
from distill.internalisation import BASE, TEACHER, Gain, Scores
from distill.reply_scores import score_replies
from distill.run_folder import RunError, RunFolder

INTERNALISATION = "internalisation.json"
_ROWS = "rows.parquet"


def measure(
    run: RunFolder,
    *,
    students: Sequence[str] = (),
    teacher: str = TEACHER,
    play: bool = True,
    score: bool = True,
    device: str = "auto",
    address: str | None = None,
) -> dict[str, Any]:
    """The document that `internalisation.json` holds; written into the run. Raises `RunError` for arms that the run has not.

    `play`: let students play with hints where the study has no such arm; `score`: run the model over the teacher's replies.
    """
    chosen = _students(run.config, students)
    _check_teacher(run.config, teacher)
    meter = _Meter(run, teacher)
    document: dict[str, Any] = {
        "study": run.config.name,
        "panel": {"name": meter.panel.name, "sha256": meter.panel.sha256},
        "teacher": teacher,
        "students": list(chosen),
        "with_hints": meter.with_hints(chosen, play, address),
        "likelihood": meter.likelihood(chosen, device) if score else None,
        "unseen_hints": meter.unseen_hints(chosen),
        "held_out_kinds": meter.held_out_kinds(chosen),
    }
    write_atomically(run.path / INTERNALISATION, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return document


def hinted_arms(config: StudyConfig, students: Sequence[str], teacher: str) -> dict[str, str | None]:
    """By student, the arm in which it is given the teacher's hints after all; None where the study has none."""
    about = config.arm_config(teacher)
    assert isinstance(about, HintedArm)
    wanted = {name: HintedArm(retriever=about.retriever, student=name) for name in students}
    return {
        name: next((arm for arm in config.arms if config.arm_config(arm) == own), None)
        for name, own in wanted.items()
    }


class _Meter:
    def __init__(self, run: RunFolder, teacher: str) -> None:
        self._run, self._teacher = run, teacher
        self._resamples = run.config.statistics.resamples
        self.panel = run.panel
        self._index = {task.key: number for number, task in enumerate(self.panel.tasks)}
        self._columns: dict[str, EpisodeColumns] = {}

    def with_hints(self, students: Sequence[str], play: bool, address: str | None) -> list[dict[str, Any]]:
        """What hints add to the model as it is, and to each student."""
        arms = hinted_arms(self._run.config, students, self._teacher)
        folders = self._play([name for name, arm in arms.items() if arm is None], address) if play else {}
        rows = [self._gain_row(BASE, self._teacher, self._arm(self._teacher), self._arm(BASE))]
        for student, arm in arms.items():
            if arm is not None:
                rows.append(self._gain_row(student, arm, self._arm(arm), self._arm(student)))
            elif student in folders:
                hinted = self._read(f"{student} with hints", folders[student])
                rows.append(self._gain_row(student, "played for this", hinted, self._arm(student)))
        return rows

    def likelihood(self, students: Sequence[str], device: str) -> dict[str, Any] | None:
        """How likely base, teacher and students find what the teacher said when it won; None where it never won."""
        table = score_replies(self._run, self._teacher, students, device=device)
        if not table.num_rows:
            return None
        players = {name: _of_player(table, name) for name in (BASE, TEACHER, *students)}
        base = players[BASE]
        scores = {
            name: Scores(
                log_probs=own["log_prob"].to_numpy(), num_tokens=own["num_tokens"].to_numpy().astype(np.int64)
            )
            for name, own in players.items()
        }
        tasks = np.asarray(base["task"].to_pylist())
        control = self._control(students)
        found = internalisation.likelihoods(scores, tasks, control=control, resamples=self._resamples)
        return {
            "control": control,
            "episodes": base.num_rows,
            "tasks": len(np.unique(tasks)),
            "tokens": int(scores[BASE].num_tokens.sum()),
            "players": {name: asdict(likelihood) for name, likelihood in found.items()},
        }

    def _control(self, students: Sequence[str]) -> str | None:
        """The student, if there is one, that learnt from base's successes alone."""
        about = {name: self._run.config.arm_config(name) for name in students}
        return next(
            (n for n, arm in about.items() if isinstance(arm, StudentArm) and arm.sources == (BASE,)), None
        )

    def unseen_hints(self, students: Sequence[str]) -> dict[str, Any]:
        """By student: base's and the student's success where the task's hints stood in no training row's prompt, and where all of them did."""
        given = {task: ids for task, ids in self._hints_of_tasks().items() if ids}
        found = {}
        for student in students:
            seen, _ = self._behind_rows(student)
            if seen:
                labels = internalisation.by_hints_seen(given, seen)
                found[student] = {"hints_seen": len(seen)} | self._by_group(
                    student, labels, ("unseen", "mixed", "seen")
                )
        return found

    def held_out_kinds(self, students: Sequence[str]) -> dict[str, Any]:
        """By student: the same for kinds of task that no training row is of, and the others."""
        found = {}
        for student in students:
            _, kinds = self._behind_rows(student)
            labels = {t.key: "trained" if t.kind in kinds else "held out" for t in self.panel.tasks}
            if "held out" in labels.values():
                found[student] = {"kinds_trained": sorted(kinds)} | self._by_group(
                    student, labels, ("held out", "trained")
                )
        return found

    def _by_group(self, student: str, labels: Mapping[str, str], names: Sequence[str]) -> dict[str, Any]:
        groups = {
            name: {self._index[task] for task, label in labels.items() if label == name} for name in names
        }
        one, base = self._arm(student), self._arm(BASE)
        teacher = self._arm(self._teacher)
        apart = internalisation.gain_apart(
            one, base, (groups[names[0]], groups[names[-1]]), resamples=self._resamples
        )
        return {
            "groups": [
                {
                    "group": name,
                    "tasks": len(tasks),
                    "student_over_base": _gain(_within(one, tasks), base, self._resamples),
                    "teacher_over_base": _gain(_within(teacher, tasks), base, self._resamples),
                }
                for name, tasks in groups.items()
            ],
            "first_over_last": None if apart is None else {"delta": apart[0], "ci95": list(apart[1])},
        }

    def _hints_of_tasks(self) -> dict[str, AbstractSet[str]]:
        """What the teacher was shown at each task of the panel, under any seed."""
        shown: dict[str, set[str]] = {}
        for rollout in self._run.evaluations(self._teacher):
            for t in rollout.trajectories():
                shown.setdefault(t.task.key, set()).update(hint.id for hint in t.shown_hints)
        return {task: frozenset(ids) for task, ids in shown.items()}

    def _behind_rows(self, student: str) -> tuple[frozenset[str], frozenset[str]]:
        """(ids of hints that stood in their prompts, their kinds of task), of the episodes that became the student's training rows."""
        about = self._run.config.arm_config(student)
        assert isinstance(about, StudentArm)
        ids = set(
            pq.read_table(self._run.folder(f"rows-{student}") / _ROWS, columns=["trajectory_id"])[
                "trajectory_id"
            ].to_pylist()
        )
        hints: set[str] = set()
        kinds: set[str] = set()
        for rollout in self._run.rollouts:
            if rollout.part == "train" and rollout.arm in about.sources:
                for t in rollout.trajectories():
                    if t.id in ids:
                        hints.update(hint.id for hint in t.shown_hints)
                        kinds.add(t.task.kind)
        return frozenset(hints), frozenset(kinds)

    def _play(self, students: Sequence[str], address: str | None) -> dict[str, list[Path]]:
        if not students:
            return {}
        from distill.pipeline import run_students_with_hints

        out = self._run.path.resolve().parent
        return run_students_with_hints(self._run.config, out, students, self._teacher, address=address)

    def _gain_row(
        self, player: str, arm: str, hinted: EpisodeColumns, bare: EpisodeColumns
    ) -> dict[str, Any]:
        return {"player": player, "arm": arm, "gain": _gain(hinted, bare, self._resamples)}

    def _arm(self, name: str) -> EpisodeColumns:
        if name not in self._columns:
            self._columns[name] = self._read(
                name, [rollout.folder for rollout in self._run.evaluations(name)]
            )
        return self._columns[name]

    def _read(self, name: str, folders: Sequence[Path]) -> EpisodeColumns:
        return read_episodes(name, [folder / TRAJECTORIES for folder in folders], self.panel)


def _students(config: StudyConfig, asked: Sequence[str]) -> tuple[str, ...]:
    if strangers := [name for name in asked if name not in config.students]:
        raise RunError(
            f"arm {strangers[0]!r} is no student of {config.name}; it has {', '.join(config.students) or 'none'}"
        )
    if not config.students:
        raise RunError(f"{config.name} trains no student, so nothing could be internalised")
    return tuple(asked) or config.students


def _check_teacher(config: StudyConfig, teacher: str) -> None:
    about = {name: config.arm_config(name) for name in config.arms}
    teachers = [n for n, arm in about.items() if isinstance(arm, HintedArm) and arm.student is None]
    if teacher not in teachers:
        raise RunError(
            f"arm {teacher!r} of {config.name} is not one that gives the model hints; it has {', '.join(teachers) or 'none'}"
        )


def _of_player(table: pa.Table, player: str) -> pa.Table:
    return table.filter(pa.compute.equal(table["player"], player)).sort_by(
        [("seed", "ascending"), ("trajectory_id", "ascending")]
    )


def _within(columns: EpisodeColumns, tasks: AbstractSet[int]) -> EpisodeColumns:
    return columns.where(np.isin(columns.task, sorted(tasks)))


def _gain(one: EpisodeColumns, other: EpisodeColumns, resamples: int) -> dict[str, Any] | None:
    found: Gain | None = internalisation.gain(one, other, resamples=resamples)
    return None if found is None else asdict(found)
