"""Self-recall: which tasks count, what counts as a task's own hint, and what chance would give."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.store import TRAJECTORIES
from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, GivenHint, to_row
from distill import cli
from distill.hint_recall import Played, self_recall
from distill.hints.bank import ordered_bank
from distill.hints.hint import Hint, written_hint

KIND = "heat"


def hint(number: int, *sources: str, kind: str = KIND) -> Hint:
    return Hint(
        text=f"Advice {number}.", kind=kind, env="e", sources=sources, writer="w", count=max(1, len(sources))
    )


def played(task: str, success: bool, *hints: Hint, seed: int = 0) -> Played:
    return Played(
        id=f"base-{task}",
        task=f"e/{task}",
        kind=KIND,
        seed=seed,
        success=success,
        hints=tuple(h.id for h in hints),
    )


HINTS = [hint(0, "base-a"), hint(1, "base-a", "base-b"), hint(2), hint(3), hint(4, "base-a", kind="cool")]
BANK = ordered_bank(HINTS)
BASE = [played("a", False), played("b", False), played("c", False), played("d", True)]


def test_only_tasks_that_base_lost_count_and_only_their_own_hints():
    teacher = [
        played("a", True, HINTS[1], HINTS[2]),
        played("b", True, HINTS[0], HINTS[2]),
        played("c", False, HINTS[2], HINTS[3]),
        played("d", True, HINTS[0], HINTS[1]),
        played("a", True, HINTS[0], seed=1),
    ]
    found = self_recall(BASE, teacher, BANK)
    assert (found.flips.num, found.flips.of) == (1, 2)
    assert (found.still_lost.num, found.still_lost.of) == (0, 1)


def test_chance_is_that_of_drawing_as_many_blindly():
    # Of the kind's four hints two are from a; two are drawn.
    found = self_recall(BASE, [played("a", True, HINTS[2], HINTS[3])], BANK)
    assert found.flips.by_chance == pytest.approx(1 - 1 / math.comb(4, 2))
    assert self_recall(BASE, [played("c", True, HINTS[2])], BANK).flips.by_chance == 0


def test_hints_that_are_not_of_the_bank_are_nobodys_own():
    given = played("a", True, HINTS[0])
    shuffled = Played(
        **{n: getattr(given, n) for n in Played.__slots__} | {"hints": (f"{HINTS[0].id}-shuffled",)}
    )
    assert self_recall(BASE, [shuffled], BANK).flips.num == 0


@pytest.fixture
def run(tmp_path, panel_of, trajectory_of) -> Path:
    """A run as `offbook run` leaves it: two tasks that base lost, one that the teacher then won with its own hint."""
    tasks = panel_of(3).tasks
    lost = [trajectory_of(task, success=False) for task in tasks[:2]]
    broken = trajectory_of(tasks[2], success=False, end=EndReason.ERROR)
    own = written_hint("Open every closed {container}.", lost[0], "gpt")
    given = (GivenHint(id=own.id, text=own.text),)
    again = [trajectory_of(task, success=n == 0, hints=given) for n, task in enumerate(tasks)]
    store = tmp_path / "store"
    for name, rows in (("rollout-a", [*lost, broken]), ("rollout-b", again)):
        (store / name).mkdir(parents=True)
        table = pa.Table.from_pylist([to_row(row) for row in rows], schema=TRAJECTORY_SCHEMA)
        pq.write_table(table, store / name / TRAJECTORIES)
    ordered_bank([own]).save(store / "hints-c" / "bank.parquet")
    (tmp_path / "tiny").mkdir()
    stages = {"train-base": "rollout-a", "train-teacher": "rollout-b", "hints": "hints-c"}
    (tmp_path / "tiny" / "run.json").write_text(json.dumps({"store": "../store", "stages": stages}))
    return tmp_path / "tiny"


def test_the_verb_reads_a_run_and_leaves_lost_episodes_out(run, capsys):
    assert cli.main(["hints", "recall", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["teacher"]
    assert (found["flips"]["num"], found["flips"]["of"]) == (1, 1)
    assert found["still_lost"]["of"] == 1, "the episode that the machinery lost is no evidence"
    assert cli.main(["hints", "recall", "tiny", "--out", str(run.parent)]) == 0
    assert "1 of 1 = 100%" in capsys.readouterr().out


def test_a_run_that_is_not_there_or_has_no_such_arm_is_told(run, capsys):
    assert cli.main(["hints", "recall", "nowhere", "--out", str(run.parent)]) != 0
    assert "no run.json" in capsys.readouterr().err
    document = json.loads((run / "run.json").read_text())
    del document["stages"]["train-teacher"]
    (run / "run.json").write_text(json.dumps(document))
    assert cli.main(["hints", "recall", str(run)]) != 0
    assert "no arm of" in capsys.readouterr().err
