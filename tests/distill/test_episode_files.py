"""Readers of a finished rollout: the same episodes as a reading of everything, without everything in memory."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.store import TRAJECTORIES
from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, to_row
from distill import episode_files
from distill.episode_files import EpisodesOnDisk, failed_tasks, read_failures, read_trajectories


@pytest.fixture
def episodes(panel_of, arms_of):
    made = arms_of(panel_of(100), {"base": 0.5}, seeds=(0,))["base"]
    return [
        replace(t, end=EndReason.ERROR, error="it broke", success=False) if n % 10 == 0 else t
        for n, t in enumerate(made)
    ]


@pytest.fixture
def folder(episodes, tmp_path):
    table = pa.Table.from_pylist([to_row(t) for t in episodes], schema=TRAJECTORY_SCHEMA)
    pq.write_table(table, tmp_path / TRAJECTORIES, row_group_size=30)
    return tmp_path


def test_they_come_in_the_files_order_a_batch_at_a_time(folder, episodes, monkeypatch):
    monkeypatch.setattr(episode_files, "_BATCH", 7)
    read = read_trajectories(folder)
    assert next(read) == episodes[0]
    assert list(read) == episodes[1:]


def test_failures_are_the_agents_and_not_the_machinerys(folder, episodes):
    lost = [t for t in episodes if not t.success and t.error is None]
    assert 10 < len(lost) < 90
    assert list(read_failures(folder)) == lost
    assert failed_tasks(folder) == {t.id: t.task.key for t in lost}


def test_on_disk_they_come_by_id_each_once_and_as_often_as_wanted(episodes, tmp_path):
    kept = EpisodesOnDisk(iter([*episodes, *episodes[:5]]), tmp_path)
    assert len(kept) == len(episodes)
    expected = sorted(episodes, key=lambda t: t.id)
    assert list(kept) == expected
    assert [pair[1] for pair in zip(kept, kept, strict=True)] == expected, "two readers at a time"
    assert episodes[3] in kept
    assert list(tmp_path.iterdir()) == []
