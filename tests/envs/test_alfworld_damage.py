"""Damaged, doubled and missing games: each error names its file, and a damaged game may be skipped."""

import pytest
from alfworld_games import PROBLEM, line, row, write_folder, write_lines

from envs.alfworld.index import open_index
from envs.base import EnvError
from envs.config import AlfworldConfig
from envs.registry import list_tasks, open_env


@pytest.mark.parametrize(
    "text, complaint",
    [
        (PROBLEM[:600], "truncated"),
        (PROBLEM.replace("(atLocation agent1 loc_a)", ""), "agent 0 times"),
        (PROBLEM.replace("(receptacleAtLocation Shelf_bar_1 loc_b)", ""), "no location"),
        (PROBLEM.replace("(inReceptacle ?o ?r)", "(isHot ?o)"), "six kinds"),
        ("(define (problem blocks))", "truncated or no PDDL"),
    ],
)
def test_a_damaged_problem_is_an_error_that_names_file_and_game(tmp_path, text, complaint):
    games = write_lines(tmp_path / "a.jsonl", line(row(1)), line(row(2, text)))
    config = AlfworldConfig(games=games)
    tasks = list_tasks(config)
    env = open_env(config)
    env.reset(tasks[0], seed=0)
    with pytest.raises(EnvError, match=complaint) as caught:
        env.reset(tasks[1], seed=0)
    assert f"{games} line 2" in str(caught.value) and row(2).path in str(caught.value)
    env.reset(tasks[0], seed=0)
    assert [task.id for task in list_tasks(config.model_copy(update={"skip_bad": True}))] == [row(1).path]


@pytest.mark.parametrize(
    "bad",
    [
        '{"path": "valid_unseen/a/b", "task"',
        "[]",
        '{"path": "x"}',
        line(row(2)).replace("valid_unseen/", "elsewhere/"),
        "null",
        "é",
    ],
)
def test_a_damaged_line_stops_the_opening_unless_bad_games_may_be_skipped(tmp_path, bad, caplog):
    games = write_lines(tmp_path / "a.jsonl", line(row(1)), bad, line(row(3)))
    with pytest.raises(EnvError, match=r"a\.jsonl line 2"):
        open_index(games)
    assert open_index(games, skip_bad=True).paths() == [row(1).path, row(3).path]
    assert "line 2" in caplog.text


def test_a_truncated_archive_names_itself(tmp_path, caplog):
    file = tmp_path / "a.jsonl.xz"
    write_lines(file, *(line(row(n)) for n in range(200)))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(EnvError, match=r"a\.jsonl\.xz is truncated"):
        open_index(str(file))


def test_a_damaged_game_file_names_itself_and_is_skipped_when_asked(tmp_path):
    games = write_folder(tmp_path, row(1), row(2), row(3))
    broken = tmp_path / row(2).path / "game.tw-pddl"
    broken.write_bytes(broken.read_bytes()[:900])
    (tmp_path / row(3).path / "game.tw-pddl").write_text("<html>not found</html>")
    config = AlfworldConfig(games=games)
    with pytest.raises(EnvError, match=r"trial_T2/game\.tw-pddl is truncated"):
        list_tasks(config)
    assert [task.id for task in list_tasks(config.model_copy(update={"skip_bad": True}))] == [row(1).path]


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("x")])
def test_a_place_without_games_says_what_to_do(tmp_path, make):
    make(tmp_path / "games")
    with pytest.raises(EnvError, match="games"):
        open_index(str(tmp_path / "games"))


def test_one_game_in_two_files_is_refused(tmp_path):
    for name in ("a", "b"):
        write_lines(tmp_path / f"{name}.jsonl", line(row(1)))
    with pytest.raises(EnvError, match="keep one"):
        open_index(str(tmp_path))


def test_a_leftover_split_is_left_out(tmp_path):
    write_folder(tmp_path, row(1))
    other = tmp_path / "valid_train" / "x" / "y" / "game.tw-pddl"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    assert open_index(str(tmp_path)).paths() == [row(1).path]
