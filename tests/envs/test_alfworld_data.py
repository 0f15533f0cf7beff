"""Games on disk: folders and compact files are the same games, and the index over them."""

import hashlib
import json
from pathlib import Path

import pytest
from alfworld_games import LOGIC, PATH, line, row, write_folder, write_lines

from envs.alfworld import index as index_module
from envs.alfworld.game import Game
from envs.alfworld.gamefile import compose_game_file, find_logic, parse_game_file
from envs.alfworld.index import open_index
from envs.alfworld.manifest import release_hashes
from envs.config import AlfworldConfig
from envs.registry import list_tasks, make_panel, open_env


def test_every_form_of_the_data_is_the_same_panel(tmp_path):
    games = [row(n) for n in (1, 2, 10)]
    forms = [
        write_folder(tmp_path / "release" / "json_2.1.1", *games),
        str(tmp_path / "release" / "json_2.1.1" / "valid_unseen"),
        write_lines(tmp_path / "a.jsonl", *map(line, games)),
        write_lines(tmp_path / "b.jsonl.xz", *map(line, reversed(games))),
    ]
    (tmp_path / "many").mkdir()
    for number, game in enumerate(games):
        write_lines(tmp_path / "many" / f"{number}.jsonl", line(game))
    forms.append(str(tmp_path / "many"))
    panels = []
    for form in forms:
        config = AlfworldConfig(games=form)
        tasks = list_tasks(config, "test")
        assert [task.id for task in tasks] == sorted(game.path for game in games)
        assert {(task.kind, task.goal) for task in tasks} == {
            ("pick_and_place_simple", "put some apple on fridge.")
        }
        assert list_tasks(config, "train") == []
        panels.append(make_panel("p", config, tasks))
        assert "fridge 1" in open_env(config).reset(tasks[0], seed=0).observation
    assert len({panel.sha256 for panel in panels}) == 1
    assert panels[0].dialect == "move"


def test_an_index_is_shared_until_its_file_changes(tmp_path):
    games = write_lines(tmp_path / "a.jsonl", line(row(1)))
    assert open_index(games) is open_index(games)
    write_lines(tmp_path / "a.jsonl", line(row(1)), line(row(2)))
    assert len(open_index(games).paths()) == 2


def test_only_so_many_games_are_kept_ready(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "_KEPT_GAMES", 2)
    index = open_index(write_lines(tmp_path / "a.jsonl", *(line(row(n)) for n in range(5))))
    first = index.game(row(0).path)
    assert index.game(row(0).path) is first
    for n in range(1, 5):
        index.game(row(n).path)
    assert index.game(row(0).path) is not first and index.game(row(0).path) == first


def test_a_game_file_is_written_as_it_was_read():
    content = compose_game_file(row(), LOGIC)
    assert parse_game_file(content, PATH, "x") == row()
    assert json.loads(content)["grammar"].endswith('Your task is to: put some apple on fridge."')


def test_compact_games_compose_to_the_release_files(test_data):
    """The domain and grammar come from the installed package and equal those inside the release's files."""
    pytest.importorskip("alfworld", reason="the reference backend is not installed (extra `alfworld`)")
    logic = find_logic(Path("/nowhere/a.jsonl"))
    assert logic == find_logic(test_data / "alfworld" / "valid_seen.jsonl.xz")
    index = open_index(str(test_data / "alfworld" / "valid_seen.jsonl.xz"))
    for path in index.paths():
        assert hashlib.sha256(compose_game_file(index.row(path), logic)).hexdigest() == release_hashes()[path]


def test_facts_and_text_make_the_same_game(test_data):
    """What `from_problem` reads is what `build` is given: building again changes nothing."""
    index = open_index(str(test_data / "alfworld" / "valid_seen.jsonl.xz"))
    for path in index.paths()[:20]:
        game = index.game(path)
        again = Game.build(
            path=path,
            task=game.task,
            goal=game.goal,
            start=game.start,
            receptacles=reversed(game.receptacles),
            things=reversed(game.things),
            can_contain=game.can_contain,
        )
        assert again == game and again.sha256 == game.sha256
