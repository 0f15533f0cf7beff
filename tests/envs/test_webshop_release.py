"""The original's data files: fetched from the first mirror that has them, checked, never half there."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from distill import cli
from envs.base import EnvError
from envs.webshop import release

CONTENTS = {"items_shuffle_1000.json": b"[1]" * 4000, "items_ins_v2_1000.json": b'{"a": 1}'}


class Mirror:
    """A local server of files that can break off, refuse, or send something else."""

    def __init__(self, contents):
        self.contents, self.asked, self.breaks = contents, [], 0
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = mirror.contents.get(self.path.strip("/"))
                mirror.asked.append((self.path.strip("/"), self.headers.get("Range")))
                if body is None:
                    self.send_error(404)
                    return
                start = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                if mirror.breaks:
                    mirror.breaks -= 1
                    self.wfile.write(body[start : start + (len(body) - start) // 2])
                    self.close_connection = True
                    return
                self.wfile.write(body[start:])

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/{{name}}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mirror(monkeypatch):
    files = tuple(
        release.DataFile(
            name=name, bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), drive_id=f"id-{name}"
        )
        for name, body in CONTENTS.items()
    )
    monkeypatch.setitem(release.FILES, "1000", files)
    serving = Mirror(dict(CONTENTS))
    yield serving
    serving.close()


def _held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_fetched_is_whole_and_is_not_fetched_again(mirror, tmp_path):
    got = release.fetch(tmp_path, "1000", mirrors=[mirror.url])
    assert [path.name for path in got] == list(CONTENTS)
    assert _held(tmp_path) == CONTENTS
    release.fetch(tmp_path, "1000", mirrors=[mirror.url])
    assert len(mirror.asked) == 2


def test_a_download_that_breaks_off_goes_on_where_it_stopped(mirror, tmp_path):
    mirror.breaks = 2
    release.fetch(tmp_path, "1000", mirrors=[mirror.url])
    assert _held(tmp_path) == CONTENTS
    first, second, third = (asked for name, asked in mirror.asked if name == "items_shuffle_1000.json")
    assert (first, second, third) == (None, "bytes=6000-", "bytes=9000-")


def test_the_next_mirror_is_asked_where_one_fails_or_sends_something_else(mirror, tmp_path):
    quota = Mirror(dict.fromkeys(CONTENTS, b"<html>Quota exceeded"))
    gone = Mirror({})
    release.fetch(tmp_path, "1000", mirrors=[gone.url, quota.url, mirror.url])
    assert _held(tmp_path) == CONTENTS
    assert len(quota.asked) == len(gone.asked) == 2
    quota.close()
    gone.close()


def test_when_no_mirror_has_it_each_failure_is_named_and_nothing_wrong_stays(mirror, tmp_path):
    quota = Mirror(dict.fromkeys(CONTENTS, b"<html>Quota exceeded"))
    with pytest.raises(
        EnvError, match=r"has 20 bytes, the original's items_shuffle_1000\.json 12,000.*--from"
    ):
        release.fetch(tmp_path, "1000", mirrors=[quota.url])
    assert _held(tmp_path) == {}
    quota.close()


def test_a_copy_is_taken_only_if_it_is_the_original(mirror, tmp_path, capsys):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, body in CONTENTS.items():
        (copy / name).write_bytes(body)
    arguments = ["data", "fetch", "webshop", "--products", "1000", "--from", str(copy), "--out"]
    assert cli.main([*arguments, str(tmp_path / "a")]) == 0
    assert _held(tmp_path / "a") == CONTENTS and mirror.asked == []
    assert f"offbook data build webshop {tmp_path / 'a'}" in capsys.readouterr().out
    (copy / "items_shuffle_1000.json").write_bytes(b"[2]" * 4000)
    assert cli.main([*arguments, str(tmp_path / "b")]) == 2
    assert "has SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "b" / "items_shuffle_1000.json").exists()
    (copy / "items_ins_v2_1000.json").unlink()
    (copy / "items_shuffle_1000.json").write_bytes(CONTENTS["items_shuffle_1000.json"])
    assert cli.main([*arguments, str(tmp_path / "b")]) == 2
    assert "holds no items_ins_v2_1000.json" in capsys.readouterr().err


def test_the_original_is_named_by_five_files_with_sums():
    named = {file.name: file for files in release.FILES.values() for file in files}
    assert len(named) == 5
    assert all(len(file.sha256) == 64 and file.bytes > 100_000 for file in named.values())
    assert all("{name}" in mirror or "{drive_id}" in mirror for mirror in release.MIRRORS)
