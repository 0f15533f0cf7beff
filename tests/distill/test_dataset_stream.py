"""The order of a dataset's rows is planned from keys alone, and a task reads the row groups that it needs."""

import random
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, from_row, to_row
from distill.dataset_stream import ordered_places, read_rows


@pytest.fixture
def files(trajectory_of, panel_of, tmp_path):
    """Two files in no order, with a record that comes twice and one that was an error first."""
    made = [trajectory_of(task, arm="teacher", seed=seed) for task in panel_of(12).tasks for seed in (0, 1)]
    random.Random(0).shuffle(made)
    lost = replace(made[3], success=False, end=EndReason.ERROR, error="x", turns=())
    paths = []
    for name, records in (("a", [lost, *made[:10]]), ("b", [*made[10:], made[0]])):
        path = tmp_path / f"{name}.parquet"
        table = pa.Table.from_pylist([to_row(t) for t in records], schema=TRAJECTORY_SCHEMA)
        pq.write_table(table, path, row_group_size=4)
        paths.append(path)
    return paths, made


def read(paths, places):
    return [from_row(row) for row in read_rows(paths, places, TRAJECTORY_SCHEMA.names)]


def test_every_episode_comes_once_in_the_order_of_its_key_whatever_the_files(files):
    paths, made = files
    expected = sorted(made, key=lambda t: (t.task.key, t.seed, t.id))
    assert read(paths, ordered_places(paths)) == expected
    assert read(paths[::-1], ordered_places(paths[::-1])) == expected


def test_only_row_groups_with_something_wanted_are_read(files, monkeypatch):
    paths, _ = files
    opened = []
    plain = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, group, **options: opened.append(group) or plain(self, group, **options),
    )
    rows = read(paths, [(1, 9), (0, 5), (1, 8), (0, 4)])
    assert opened == [2, 1]
    whole = [pq.read_table(path).to_pylist() for path in paths]
    assert rows == [from_row(whole[file][row]) for file, row in ((1, 9), (0, 5), (1, 8), (0, 4))]


def test_an_empty_file_has_no_places(tmp_path):
    path = tmp_path / "empty.parquet"
    pq.write_table(TRAJECTORY_SCHEMA.empty_table(), path)
    assert ordered_places([path]) == []
