from dataclasses import replace

import pyarrow.parquet as pq

from actors.store import (
    EPISODES,
    TRAJECTORIES,
    EpisodeFile,
    finalise,
    finished_ids,
    read_finished,
    to_line,
)
from actors.totals import Totals
from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, GivenHint, Trajectory, Turn, from_row, to_row
from envs.task import Task


def trajectory(number=0, end=EndReason.DONE, **changes):
    record = Trajectory(
        task=Task(env="scripted", split="test", id=f"t{number}", kind="k", goal="g"),
        role="base",
        arm="base",
        agent="react-000000",
        model="m",
        adapter=None,
        seed=0,
        hints=(),
        opening="You are here — ünïcode.",
        turns=(Turn(reply="look", action="look", observation="a\nb"),),
        end=end,
        success=end == EndReason.DONE,
        score=1.0,
    )
    return replace(record, **changes)


def write(folder, *records):
    file = EpisodeFile(folder)
    file.append([to_line(record) for record in records])
    file.close()


def test_what_was_appended_is_read_back_sorted(tmp_path):
    records = [trajectory(n) for n in (2, 0, 1)]
    write(tmp_path, *records)
    assert read_finished(tmp_path) == sorted(records, key=lambda r: r.task.id)
    assert finished_ids(tmp_path) == {r.id for r in records}


def test_a_torn_last_line_is_cut_and_the_next_append_is_whole(tmp_path):
    write(tmp_path, trajectory(0))
    with (tmp_path / EPISODES).open("ab") as file:
        file.write(to_line(trajectory(1)).encode()[:50])
    assert finished_ids(tmp_path) == {trajectory(0).id}
    write(tmp_path, trajectory(2))
    assert finished_ids(tmp_path) == {trajectory(0).id, trajectory(2).id}
    assert b"\n\n" not in (tmp_path / EPISODES).read_bytes()


def test_a_file_that_is_one_torn_line_becomes_empty(tmp_path):
    (tmp_path / EPISODES).write_bytes(b'{"id": "x"')
    write(tmp_path, trajectory(0))
    assert read_finished(tmp_path) == [trajectory(0)]


def test_an_error_is_owed_again_and_gives_way_to_the_episode(tmp_path):
    lost = trajectory(0, end=EndReason.ERROR, error="engine died", success=False)
    write(tmp_path, lost)
    assert finished_ids(tmp_path) == set()
    write(tmp_path, trajectory(0), lost)
    assert read_finished(tmp_path) == [trajectory(0)]


def test_the_final_file_holds_every_id_once(tmp_path):
    write(tmp_path, trajectory(1), trajectory(0), trajectory(1))
    totals = finalise(tmp_path)
    table = pq.read_table(tmp_path / TRAJECTORIES)
    assert (totals.episodes, totals.successes, totals.errors, totals.turns, totals.steps) == (2, 2, 0, 2, 2)
    assert table.schema.names == TRAJECTORY_SCHEMA.names
    assert table.schema.metadata == TRAJECTORY_SCHEMA.metadata
    assert [from_row(row) for row in table.to_pylist()] == [trajectory(0), trajectory(1)]
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_a_folder_without_episodes_is_an_empty_table(tmp_path):
    assert finalise(tmp_path) == Totals()
    assert pq.read_table(tmp_path / TRAJECTORIES).num_rows == 0


def test_a_record_written_before_hints_had_turns_says_that_they_came_at_the_start():
    hinted = trajectory(hints=(GivenHint(id="a", text="Look."), GivenHint(id="b", text="Go.")))
    row = to_row(hinted)
    for hint in row["hints"]:
        assert hint.pop("turn") == 0
    assert from_row(row) == hinted
    late = replace(
        hinted, hints=(GivenHint(id="a", text="Look.", turn=3), GivenHint(id="b", text="Go.", turn=None))
    )
    assert from_row(to_row(late)) == late and late.id == hinted.id
