"""Recorded traces against the world: what matches, what differs, what is missing."""

import json
from pathlib import Path

import pytest
from alfworld_games import line, row, write_lines

from envs.alfworld.traces import check_traces
from envs.base import EnvError


def record(path: str, **changes) -> dict:
    """A trace of two steps as the original would write it, with `changes` to the last."""
    return {
        "game": path,
        "steps": [
            {
                "action": None,
                "obs": "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
                "a fridge 1, and a shelf 1.\n\nYour task is to: put some apple on fridge.",
                "admissible": [
                    "examine fridge 1",
                    "go to shelf 1",
                    "help",
                    "inventory",
                    "look",
                    "open fridge 1",
                ],
                "score": 0,
                "done": False,
                "won": False,
            },
            {
                "action": "open fridge 1",
                "obs": "You open the fridge 1. The fridge 1 is open. In it, you see nothing.",
                "admissible": [
                    "close fridge 1",
                    "examine fridge 1",
                    "go to shelf 1",
                    "help",
                    "inventory",
                    "look",
                ],
                "score": 0,
                "done": False,
                "won": False,
            }
            | changes,
        ],
    }


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.xz"])
def test_traces_report_matches_and_the_first_difference(tmp_path, suffix):
    games = write_lines(tmp_path / "games.jsonl", line(row(1)))
    good, bad = record(row(1).path), record(row(1).path, obs="You open the fridge.", score=1)
    folder = tmp_path / "traces"
    folder.mkdir()
    write_lines(folder / f"a{suffix}", json.dumps(good))
    report = check_traces(folder, games)
    assert (report.num_traces, report.matched, report.mismatched, report.ok) == (1, 2, 0, True)
    write_lines(folder / f"b{suffix}", json.dumps(good), json.dumps(bad))
    report = check_traces(folder, games)
    assert (report.num_traces, report.matched, report.mismatched, report.ok) == (3, 5, 1, False)
    assert report.first_difference is not None
    assert (
        "step 1 ('open fridge 1'): obs is" in report.first_difference
        and f"b{suffix}:2" in report.first_difference
    )


@pytest.mark.parametrize(
    "changes",
    [{"admissible": ["help"]}, {"score": 1}, {"done": True}, {"won": True}, {"action": "look", "obs": "x"}],
)
def test_every_field_of_a_trace_counts(tmp_path, changes):
    games = write_lines(tmp_path / "games.jsonl", line(row(1)))
    report = check_traces(
        [Path(write_lines(tmp_path / "t.jsonl", json.dumps(record(row(1).path, **changes))))], games
    )
    assert (report.matched, report.mismatched) == (1, 1)


def test_traces_of_missing_games_and_damaged_files_are_told(tmp_path):
    games = write_lines(tmp_path / "games.jsonl", line(row(1)))
    report = check_traces(Path(write_lines(tmp_path / "t.jsonl", json.dumps(record("train/a/b")))), games)
    assert report.missing == ("train/a/b",) and not report.ok
    for text in ('{"game": "x"', '{"game": "x"}', "[]"):
        with pytest.raises(EnvError, match=r"bad\.jsonl"):
            check_traces(Path(write_lines(tmp_path / "bad.jsonl", text)), games)
    with pytest.raises(EnvError, match="no traces"):
        check_traces(tmp_path / "nowhere", games)
