"""`offbook data`, `panel` and `play` on a few real games."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from distill import cli
from envs.config import AlfworldConfig
from envs.registry import list_tasks


@pytest.fixture(scope="module")
def few_games(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three games of valid_unseen with the release's domain and grammar."""
    folder = tmp_path_factory.mktemp("games")
    source = test_data / "alfworld"
    for name in ("alfred.pddl", "alfred.twl2"):
        (folder / name).write_bytes((source / name).read_bytes())
    with lzma.open(source / "valid_unseen.jsonl.xz", "rt", encoding="utf-8") as lines:
        (folder / "few.jsonl").write_text("".join(next(lines) for _ in range(3)))
    return folder


@pytest.fixture
def traces(test_data: Path, few_games: Path, tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    held = {task.id for task in list_tasks(AlfworldConfig(games=str(few_games)))}
    recorded = (test_data / "alfworld/traces/valid_unseen_walkthrough.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, recorded) if row["game"] in held]
    assert len(rows) == 3
    return _written(tmp_path / "traces.jsonl", rows), rows


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_true_traces_match(traces: tuple[Path, list], few_games: Path, capsys: pytest.CaptureFixture[str]):
    path, rows = traces
    steps = sum(len(row["steps"]) for row in rows)
    assert cli.main(["data", "check-traces", str(path), "--games", str(few_games)]) == 0
    assert capsys.readouterr().out == f"{steps} steps matched, 0 mismatched, in 3 traces\nall matched\n"


def test_one_altered_letter_is_found_and_named(
    traces: tuple[Path, list], few_games: Path, capsys: pytest.CaptureFixture[str]
):
    path, rows = traces
    step = rows[1]["steps"][2]
    step["obs"] += "!"
    _written(path, rows)
    assert cli.main(["data", "check-traces", str(path), "--games", str(few_games)]) == 1
    shown = capsys.readouterr().out
    assert ", 1 mismatched, in 3 traces" in shown and "all matched" not in shown
    assert f"first difference: traces.jsonl:2: {rows[1]['game']} step 2" in shown
    assert cli.main(["data", "check-traces", str(path), "--games", str(few_games), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False and document["mismatched"] == 1 and document["matched"] > 5


def test_traces_of_games_that_are_not_there_are_no_match(
    traces: tuple[Path, list], few_games: Path, capsys: pytest.CaptureFixture[str]
):
    path, rows = traces
    rows[0]["game"] += "0"
    assert cli.main(["data", "check-traces", str(_written(path, rows)), "--games", str(few_games)]) == 1
    assert "1 games are not in" in (shown := capsys.readouterr().out) and "all matched" not in shown


def test_damaged_or_absent_traces_and_games_are_bad_input(
    traces: tuple[Path, list], few_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "bad.jsonl").write_text('{"game": ')
    for path, games in (
        (tmp_path / "bad.jsonl", few_games),
        (tmp_path / "no", few_games),
        (traces[0], tmp_path / "no"),
    ):
        assert cli.main(["data", "check-traces", str(path), "--games", str(games)]) == 2
        assert (shown := capsys.readouterr().err).startswith("offbook: ") and shown.count("\n") == 1


def test_verify_tells_a_part_from_a_changed_copy(
    few_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["data", "verify", "alfworld", str(few_games)]) == 1
    assert "3 of 3827 games of the release match; 3824 missing" in capsys.readouterr().out
    assert cli.main(["data", "verify", "alfworld", str(few_games), "--partial"]) == 0
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in few_games.iterdir():
        (changed / file.name).write_text(
            file.read_text().replace("examine the alarmclock", "examine the alarm clock")
        )
    assert cli.main(["data", "verify", "alfworld", str(changed), "--partial"]) == 1
    assert "  changed: valid_unseen/look_at_obj" in capsys.readouterr().out


def test_panel_is_made_shown_and_checked(few_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "panels" / "three.json"
    assert cli.main(["panel", "make", "lab/three", "--games", str(few_games), "--out", str(file)]) == 0
    digest = capsys.readouterr().out.split()[-1]
    assert cli.main(["panel", "show", str(file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["sha256"], shown["num_tasks"]) == ("lab/three", digest, 3)
    assert cli.main(["panel", "check", str(file), "--games", str(few_games)]) == 0
    assert digest in capsys.readouterr().out


def test_panel_of_other_games_is_a_no(few_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file, other = tmp_path / "three.json", tmp_path / "other.jsonl"
    cli.main(["panel", "make", "lab/three", "--games", str(few_games), "--out", str(file)])
    other.write_text((few_games / "few.jsonl").read_text().splitlines(keepends=True)[0])
    capsys.readouterr()
    assert cli.main(["panel", "check", str(file), "--games", str(other)]) == 1
    assert capsys.readouterr().out.startswith("no: ")
    assert cli.main(["panel", "check", str(file), "--games", str(tmp_path / "none")]) == 2


def test_shipped_panels_are_listed_and_a_number_too_large_is_refused(
    few_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["panel", "show"]) == 0
    assert "paper/alfworld-test" in capsys.readouterr().out.splitlines()
    out = str(tmp_path / "p.json")
    assert cli.main(["panel", "make", "p", "--games", str(few_games), "--tasks", "9", "--out", out]) == 2
    assert "asked for 9 tasks" in capsys.readouterr().err
    assert cli.main(["panel", "make", "p", "--games", str(few_games), "--out", str(tmp_path / "p")]) == 2
    assert "must end in .json" in capsys.readouterr().err


def test_a_person_wins_a_real_game_by_its_walkthrough(
    few_games: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    game = json.loads((few_games / "few.jsonl").read_text().splitlines()[0])
    lines = iter(game["walkthrough"])
    monkeypatch.setattr("distill.play.ask_terminal", lambda _prompt: next(lines))
    assert cli.main(["play", "--games", str(few_games), "--task", game["path"]]) == 0
    assert f"Solved in {len(game['walkthrough'])} steps." in capsys.readouterr().out


def test_made_games_are_the_same_again_verify_and_can_be_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("a", "b"):
        arguments = ["--seed", "5", "--games", "9", "--rooms", "small", "--out", str(tmp_path / name)]
        assert cli.main(["data", "generate", "alfworld", *arguments]) == 0
        assert "6 games in train, 3 games in valid_unseen" in capsys.readouterr().out
    made = tmp_path / "a" / "train.jsonl"
    assert made.read_bytes() == (tmp_path / "b" / "train.jsonl").read_bytes()
    assert cli.main(["data", "verify", "alfworld", str(tmp_path / "a")]) == 0
    assert "9 games, none of them the release's; the walkthroughs of 9 win" in capsys.readouterr().out
    rows = [json.loads(line) for line in made.read_text().splitlines()]
    rows[2]["walkthrough"] = rows[2]["walkthrough"][:-1]
    _written(made, rows)
    assert cli.main(["data", "verify", "alfworld", str(tmp_path / "a")]) == 1
    assert f"  not won: {rows[2]['path']}" in capsys.readouterr().out


def test_generated_games_are_not_mixed_with_others(
    few_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    release = tmp_path / "release"
    (release / "train" / "a" / "b").mkdir(parents=True)
    for extra in ([], ["--files"]):
        assert (
            cli.main(
                ["data", "generate", "alfworld", "--seed", "1", "--games", "3", "--out", str(release), *extra]
            )
            == 2
        )
        assert "already holds train" in capsys.readouterr().err
    own = [
        "data",
        "generate",
        "alfworld",
        "--seed",
        "1",
        "--games",
        "3",
        "--rooms",
        "small",
        "--out",
        str(tmp_path / "own"),
    ]
    assert cli.main(own) == 0
    assert cli.main(own) == 0


def test_play_makes_a_household_where_there_are_no_games(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("distill.play.ask_terminal", lambda _prompt: "q")
    shown = []
    for _ in range(2):
        assert cli.main(["play", "--seed", "3", "--split", "test"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and ", test)" in shown[0] and list(tmp_path.iterdir()) == []


def test_play_lists_its_tasks(few_games: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["play", "--games", str(few_games), "--list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 3 and all(len(row) == 3 for row in rows)
