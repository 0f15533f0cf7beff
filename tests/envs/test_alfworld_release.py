"""The release: its hashes, its download, what verifying finds."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from alfworld_games import LOGIC, row, write_folder

from envs.alfworld import index as index_module
from envs.alfworld import release
from envs.alfworld.gamefile import compose_game_file
from envs.alfworld.manifest import NUM_GAMES, release_hashes
from envs.base import EnvError
from envs.config import AlfworldConfig
from envs.registry import list_tasks


def test_manifest_holds_the_release():
    splits = [path.partition("/")[0] for path in release_hashes()]
    assert {split: splits.count(split) for split in NUM_GAMES} == NUM_GAMES
    assert list(release_hashes()) == sorted(release_hashes())


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
