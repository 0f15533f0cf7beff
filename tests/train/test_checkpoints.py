"""Checkpoints on disk: whole or passed over, the newest few kept."""

import logging

import pytest
import torch

from train.checkpoints import STATE, find_checkpoint, read_state, write_checkpoint


def write(folder, step, *, key="k", keep=2):
    state = {"a/weight": torch.full((3, 2), float(step))}
    return write_checkpoint(folder, state, step=step, key=key, seconds=1.5, num_workers=2, keep=keep)


def test_the_newest_is_found_and_the_newest_few_are_kept(tmp_path):
    for step in (2, 4, 10):
        write(tmp_path, step)

    checkpoint, about = find_checkpoint(tmp_path, "k")

    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000004", "step-000010"]
    assert (about.step, about.seconds, about.num_workers) == (10, 1.5, 2)
    assert read_state(checkpoint)["a/weight"].tolist() == [[10.0, 10.0]] * 3


def test_a_damaged_checkpoint_and_another_jobs_are_passed_over(tmp_path, caplog):
    write(tmp_path, 2, keep=9)
    torn, cut, other = (
        write(tmp_path, 4, keep=9),
        write(tmp_path, 6, keep=9),
        write(tmp_path, 8, key="x", keep=9),
    )
    (torn / STATE).write_bytes((torn / STATE).read_bytes()[:-1] + b"\x01")
    (cut / "checkpoint.json").write_text("{")
    (tmp_path / ".partial-000009").mkdir()

    with caplog.at_level(logging.WARNING):
        _, about = find_checkpoint(tmp_path, "k")

    assert about.step == 2
    assert [str(p) in caplog.text for p in (torn, cut, other)] == [True] * 3
    assert "its tensors are not those that were written" in caplog.text and "another job's" in caplog.text
    assert find_checkpoint(tmp_path, "y") is None
    assert find_checkpoint(tmp_path / "nowhere", "k") is None


def test_a_write_that_was_cut_short_is_no_checkpoint_and_is_written_again(tmp_path, monkeypatch):
    import train.checkpoints

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train.checkpoints, "_sync", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, 2)
    assert find_checkpoint(tmp_path, "k") is None

    write(tmp_path, 2)
    assert find_checkpoint(tmp_path, "k")[1].step == 2
