"""Which successes become rows when the choice looks at all of them."""

import dataclasses
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.trajectory import TRAJECTORY_SCHEMA, to_row
from distill.hints.bank import Bank, BankError, build_bank
from distill.hints.hint import written_hint
from distill.selection import LONGER, SEEN, TOO_MANY, Success, left_out, read_successes, tasks_of_hints
from distill.strip import RowFilter

ONE, TWO, THREE = (
    Success(id="one", task="t1", num_steps=9, hints=("h1",)),
    Success(id="two", task="t1", num_steps=4, hints=()),
    Success(id="three", task="t2", num_steps=5, hints=("h1", "h2")),
)


def test_nothing_is_left_out_unless_asked():
    assert left_out([ONE, TWO, THREE]) == {}


def test_the_shortest_success_of_each_task_stays():
    assert left_out([ONE, TWO, THREE], shortest=True) == {"one": LONGER}


def test_an_episode_that_was_given_a_hint_from_its_own_task_goes():
    seen = {"h1": frozenset({"t1"}), "h2": frozenset({"t9"})}
    assert left_out([ONE, TWO, THREE], seen=seen) == {"one": SEEN}
    # Left out before the shortest is looked for: its task keeps the longer one.
    quick = Success(id="quick", task="t1", num_steps=1, hints=("h1",))
    assert left_out([ONE, TWO, quick], seen={"h1": frozenset({"t1"})}, shortest=True) == {
        "one": SEEN,
        "quick": SEEN,
    }


@pytest.mark.parametrize("at_most", [0, 1, 40, 100, 200])
def test_a_number_of_rows_is_met_and_does_not_depend_on_the_order(at_most):
    many = [Success(id=f"e{i}", task=f"t{i % 30}", num_steps=i, hints=()) for i in range(100)]
    reasons = left_out(many, at_most=at_most)
    assert set(reasons.values()) <= {TOO_MANY} and len(reasons) == max(0, 100 - at_most)
    shuffled = random.Random(1).sample(many, len(many))
    assert left_out(shuffled, at_most=at_most) == reasons
    # More rows hold all that fewer rows hold: arms of a data-size curve are nested.
    assert set(left_out(many, at_most=at_most + 10)) <= set(reasons)


def test_successes_are_read_from_all_folders_once_and_filtered(tmp_path, trajectory_of, panel_of):
    task = panel_of().tasks[0]
    won = trajectory_of(task, success=True)
    lost = trajectory_of(task, success=False, seed=1)
    for name, rows in (("a", [won, lost]), ("b", [won])):
        (tmp_path / name).mkdir()
        table = pa.Table.from_pylist([to_row(t) for t in rows], schema=TRAJECTORY_SCHEMA)
        pq.write_table(table, tmp_path / name / "trajectories.parquet")
    found = read_successes([tmp_path / "a", tmp_path / "b"], RowFilter())
    assert [s.id for s in found] == [won.id]
    assert found[0].task == task.key and found[0].num_steps == won.num_steps
    assert read_successes([tmp_path / "a"], RowFilter(max_steps=0 + won.num_steps - 1)) == []


def test_a_hint_knows_the_tasks_it_was_written_from(trajectory_of, panel_of):
    lost = [trajectory_of(task, success=False) for task in panel_of().tasks[:2]]
    bank = build_bank([written_hint("Open it first.", failure, "w") for failure in lost])
    (hint,) = [hint for hint in bank.hints if lost[0].id in hint.sources]
    assert lost[0].task.key in tasks_of_hints(bank)[hint.id]
    old = dataclasses.replace(hint, lineage=())
    with pytest.raises(BankError, match="schema version 1"):
        tasks_of_hints(Bank(hints=(old,)))
