"""Games on disk: folders and compact files, damage, the release and its hashes, panels, recorded traces."""

import hashlib
import json
import lzma
import zipfile
from pathlib import Path

import pytest

from envs.alfworld import index as index_module
from envs.alfworld import release
from envs.alfworld.env import understand_put
from envs.alfworld.game import Game
from envs.alfworld.gamefile import GameRow, Logic, compose_game_file, find_logic, parse_game_file
from envs.alfworld.index import open_index
from envs.alfworld.manifest import NUM_GAMES, release_hashes
from envs.alfworld.panels import TRAIN_1200
from envs.alfworld.traces import check_traces
from envs.base import EnvError
from envs.config import AlfworldConfig
from envs.panel import Panel, PanelMismatchError
from envs.registry import check_panel, find_panel, list_tasks, make_panel, open_env, shipped_panels

PROBLEM = """
(define (problem plan_trial) (:domain alfred)
(:objects agent1 - agent  Apple_bar_1 - object  Fridge_bar_1 - receptacle  loc_a - location loc_b - location)
(:init
    (receptacleType Fridge_bar_1 FridgeType) (receptacleType Shelf_bar_1 ShelfType)
    (objectType Apple_bar_1 AppleType)
    (receptacleAtLocation Fridge_bar_1 loc_a) (receptacleAtLocation Shelf_bar_1 loc_b)
    (openable Fridge_bar_1) (pickupable Apple_bar_1)
    (canContain FridgeType AppleType) (canContain ShelfType AppleType)
    (inReceptacle Apple_bar_1 Shelf_bar_1) (objectAtLocation Apple_bar_1 loc_b)
    (atLocation agent1 loc_a)
)
(:goal (and (exists (?r - receptacle) (exists (?o - object) (and
    (inReceptacle ?o ?r) (objectType ?o AppleType) (receptacleType ?r FridgeType)
)))))
)
"""
PATH = "valid_unseen/pick_and_place_simple-Apple-None-Fridge-10/trial_T1"
LOGIC = Logic(domain="(define (domain alfred))", grammar='"rhs": "Your task is to: UNKNOWN GOAL"')


def row(number: int = 1, problem: str = PROBLEM) -> GameRow:
    return GameRow(
        path=f"valid_unseen/pick_and_place_simple-Apple-None-Fridge-10/trial_T{number}",
        task="put some apple on fridge.",
        problem=problem,
        walkthrough=("go to shelf 1",),
        solvable=True,
    )


def line(game: GameRow) -> str:
    return json.dumps(
        {
            "path": game.path,
            "task": game.task,
            "pddl_problem": game.problem,
            "walkthrough": list(game.walkthrough),
            "solvable": True,
        }
    )


def write_lines(file: Path, *lines: str) -> str:
    text = "".join(f"{text}\n" for text in lines)
    if file.suffix == ".xz":
        file.write_bytes(lzma.compress(text.encode()))
    else:
        file.write_text(text)
    return str(file)


def write_folder(folder: Path, *games: GameRow) -> str:
    for game in games:
        file = folder / game.path / "game.tw-pddl"
        file.parent.mkdir(parents=True)
        file.write_bytes(compose_game_file(game, LOGIC))
    return str(folder)


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


@pytest.mark.parametrize(
    "said, meant",
    [
        ("put apple 1 in/on fridge 1", "move apple 1 to fridge 1"),
        ("put apple 1 in fridge 1", "move apple 1 to fridge 1"),
        ("Put apple 1 on shelf 2 ", "move apple 1 to shelf 2"),
        ("put apple 1", None),
        ("take apple 1 from shelf 1", None),
        ("output apple 1 in fridge 1", None),
    ],
)
def test_put_is_understood_as_move(said, meant):
    assert understand_put(said) == meant


def test_put_is_played_reported_and_may_be_forbidden(tmp_path):
    games = write_lines(tmp_path / "a.jsonl", line(row(1)))
    for accepted in (True, False):
        config = AlfworldConfig(games=games, accept_put=accepted)
        env = open_env(config)
        env.reset(list_tasks(config)[0], seed=0)
        for action in ("go to shelf 1", "take apple 1 from shelf 1", "go to fridge 1", "open fridge 1"):
            assert env.step(action).executed is None
        result = env.step("put apple 1 in/on fridge 1")
        assert result.executed == ("move apple 1 to fridge 1" if accepted else None)
        assert result.valid == result.success == accepted


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


def test_manifest_holds_the_release():
    splits = [path.partition("/")[0] for path in release_hashes()]
    assert {split: splits.count(split) for split in NUM_GAMES} == NUM_GAMES
    assert list(release_hashes()) == sorted(release_hashes())


def test_shipped_panels_are_the_papers():
    assert shipped_panels() == ["paper/alfworld-test", "paper/alfworld-train-1200"]
    test, train = (find_panel(name) for name in shipped_panels())
    assert {task.id for task in test.tasks} == {
        path for path in release_hashes() if path.startswith("valid_unseen/")
    }
    kinds = [task.kind for task in train.tasks]
    assert {kind: kinds.count(kind) for kind in TRAIN_1200} == TRAIN_1200 and len(kinds) == 1200
    assert {(task.split, task.id.partition("/")[0]) for task in train.tasks} == {("train", "train")}
    with pytest.raises(EnvError, match="paper/alfworld-test"):
        find_panel("paper/alfworld")


def test_a_panel_of_part_of_the_data_is_checked_and_gets_its_goals(test_data, tmp_path):
    config = AlfworldConfig(games=str(test_data / "alfworld" / "valid_unseen.jsonl.xz"))
    shipped = find_panel("paper/alfworld-test")
    with pytest.raises(EnvError, match="lacks 65 of 134 games"):
        check_panel(shipped, config)
    held = {task.id: task for task in list_tasks(config)}
    pairs = [
        (task, digest) for task, digest in zip(shipped.tasks, shipped.hashes, strict=True) if task.id in held
    ]
    part = Panel(
        name="part",
        dialect=shipped.dialect,
        tasks=tuple(t for t, _ in pairs),
        hashes=tuple(h for _, h in pairs),
    )
    checked = check_panel(part, config)
    assert [task.goal for task in checked.tasks] == [held[task.id].goal for task in part.tasks]
    part.save(tmp_path / "part.json")
    assert Panel.load(tmp_path / "part.json") == part
    wrong = Panel(name="wrong", dialect="put", tasks=part.tasks, hashes=part.hashes)
    with pytest.raises(PanelMismatchError, match="speaks 'put'"):
        check_panel(wrong, config)
    changed = Panel(name="changed", dialect="move", tasks=part.tasks, hashes=("0" * 64, *part.hashes[1:]))
    with pytest.raises(PanelMismatchError, match="1 tasks differ"):
        check_panel(changed, config)


@pytest.fixture
def small_release(monkeypatch):
    """A release of three games."""
    games = {row(n).path: compose_game_file(row(n), LOGIC) for n in (1, 2, 3)}
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in games.items()}
    monkeypatch.setattr(release, "release_hashes", lambda: hashes)
    monkeypatch.setattr(index_module, "release_hashes", lambda: hashes)
    return games


def zipped(file: Path, games: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("json_2.1.1/valid_unseen/readme.txt", "hello")
        for path, content in games.items():
            packed.writestr(f"json_2.1.1/{path}/game.tw-pddl", content)
    return file


def test_fetch_takes_a_zip_or_a_folder_and_verifies_it(small_release, tmp_path):
    archive = zipped(tmp_path / "r.zip", small_release)
    report = release.fetch(tmp_path / "games", archive)
    assert report.whole and report.genuine and report.matched == tuple(sorted(small_release))
    assert [task.id for task in list_tasks(AlfworldConfig(games=str(tmp_path / "games")))] == sorted(
        small_release
    )
    copied = release.fetch(tmp_path / "again", tmp_path / "games")
    assert copied.whole
    assert archive.exists(), "a local copy is not ours to delete"


def test_fetch_refuses_other_content_and_damage(small_release, tmp_path):
    first = sorted(small_release)[0]
    with pytest.raises(EnvError, match="another version"):
        release.fetch(tmp_path / "a", zipped(tmp_path / "r.zip", small_release | {first: b"{}"}))
    (tmp_path / "r.zip").write_bytes(b"PK no zip")
    with pytest.raises(EnvError, match="damaged or no zip"):
        release.fetch(tmp_path / "b", tmp_path / "r.zip")
    with pytest.raises(EnvError, match="does not exist"):
        release.fetch(tmp_path / "c", tmp_path / "nothing.zip")


def test_verify_counts_missing_changed_and_foreign(small_release, tmp_path):
    write_folder(tmp_path, row(1), row(2), row(7))
    changed = tmp_path / row(2).path / "game.tw-pddl"
    changed.write_bytes(changed.read_bytes() + b"\n")
    report = release.verify(tmp_path)
    assert (report.matched, report.changed, report.missing, report.foreign) == (
        (row(1).path,), (row(2).path,), (row(3).path,), (row(7).path,),
    )  # fmt: skip
    assert not report.whole and not report.genuine
    assert "1 missing, first" in report.summary()


def test_a_broken_download_is_taken_up_where_it_stopped(small_release, tmp_path, monkeypatch):
    import httpx

    content = zipped(tmp_path / "r.zip", small_release).read_bytes()
    asked = []

    class BreakingOff(httpx.SyncByteStream):
        def __init__(self, body: bytes) -> None:
            self.body = body

        def __iter__(self):
            yield self.body[: len(self.body) // 2]
            raise httpx.ReadError("connection reset")

    def serve(request: httpx.Request) -> httpx.Response:
        wanted = request.headers.get("Range", "bytes=0-")
        asked.append(wanted)
        start = int(wanted[len("bytes=") :].rstrip("-"))
        body = content[start:]
        headers = {"Content-Length": str(len(body))}
        if len(asked) < 3:
            return httpx.Response(206 if start else 200, headers=headers, stream=BreakingOff(body))
        return httpx.Response(206 if start else 200, headers=headers, stream=httpx.ByteStream(body))

    def stream(method, url, **kwargs):
        kwargs.pop("follow_redirects")
        return httpx.Client(transport=httpx.MockTransport(serve)).stream(method, url, **kwargs)

    monkeypatch.setattr(httpx, "stream", stream)
    report = release.fetch(tmp_path / "games")
    assert report.whole and len(asked) == 3 and asked[0] == "bytes=0-" and asked[1] != "bytes=0-"
    assert not list((tmp_path / "games").glob("*.zip*"))


def test_an_unreachable_server_is_a_clear_error(tmp_path, monkeypatch):
    import httpx

    def refuse(*_, **__):
        raise httpx.ConnectError("name resolution failed")

    monkeypatch.setattr(httpx, "stream", refuse)
    with pytest.raises(EnvError, match="--from"):
        release.fetch(tmp_path)


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
