"""Clouds' words for "I want this machine back", from a server that answers as their documents say; and what Ray makes of one."""

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from actors.notices import Aws, Azure, Gcp, Notice, Now, heed


class Metadata:
    """A machine's metadata service: `answers` maps a path to a status and a body; what was asked is kept."""

    def __init__(self):
        self.answers, self.asked = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append((self.command, self.path, dict(self.headers)))
                status, body = outer.answer(self.command, self.path, self.headers)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            do_PUT = do_GET  # noqa: N815 - http.server calls it

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.at = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, command, path, headers):
        return self.answers.get(path, (404, "not found"))

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def metadata(monkeypatch):
    # The proxy of a site must not be asked.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    made = Metadata()
    yield made
    made.close()


def aws_answers(metadata, action=None):
    """Amazon's, version 2: no word without a token, which is good for one request here."""
    tokens = iter(f"token {n}" for n in range(100))
    good = []

    def answer(command, path, headers):
        if (command, path) == ("PUT", "/latest/api/token"):
            assert int(headers["X-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
            good.append(next(tokens))
            return 200, good[-1]
        if headers.get("X-aws-ec2-metadata-token") not in good:
            return 401, ""
        good.clear()
        return (200, json.dumps(action)) if action else (404, "")

    metadata.answer = answer


def test_aws_is_asked_with_a_token_that_is_renewed(metadata):
    aws = Aws(metadata.at)
    aws_answers(metadata)
    assert aws.look() is None and aws.look() is None
    in_90_s = (datetime.now(UTC) + timedelta(seconds=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    aws_answers(metadata, {"action": "terminate", "time": in_90_s})
    notice = aws.look()
    assert notice.why == "AWS: terminate" and 85 < notice.left_s <= 90
    aws_answers(metadata, {"action": "stop", "time": "2020-01-01T00:00:00Z"})
    assert aws.look() == Notice(why="AWS: stop", left_s=0.0)


def test_aws_that_gives_no_token_is_an_error(metadata):
    metadata.answer = lambda command, path, headers: (401, "")
    with pytest.raises(OSError, match="401"):
        Aws(metadata.at).look()


def test_gcp_says_true_or_false(metadata):
    path, gcp = "/computeMetadata/v1/instance/preempted", Gcp(metadata.at)
    metadata.answers[path] = (200, "FALSE")
    assert gcp.look() is None
    metadata.answers[path] = (200, "TRUE")
    assert gcp.look() == Notice(why="GCP: preempted", left_s=30.0)
    assert {headers["Metadata-Flavor"] for _, _, headers in metadata.asked} == {"Google"}


@pytest.mark.parametrize(
    ("event", "left"),
    [
        ({}, (25, 30)),
        ({"EventStatus": "Started", "NotBefore": ""}, (0, 0)),
        ({"EventType": "Freeze"}, None),
        ({"Resources": ["neighbour"]}, None),
    ],
)
def test_azure_tells_of_events_of_which_one_may_be_this_machines(metadata, event, left):
    metadata.answers["/metadata/instance/compute/name?api-version=2021-02-01&format=text"] = (200, "mine")
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    told = {
        "EventType": "Preempt",
        "Resources": ["neighbour", "mine"],
        "EventStatus": "Scheduled",
        "NotBefore": soon,
    }
    path = "/metadata/scheduledevents?api-version=2020-07-01"
    metadata.answers[path] = (200, json.dumps({"DocumentIncarnation": 1, "Events": [told | event]}))
    notice = Azure(metadata.at).look()
    if left is None:
        assert notice is None
    else:
        assert notice.why == "Azure: preempted" and left[0] <= notice.left_s <= left[1]
    assert {headers["Metadata"] for _, _, headers in metadata.asked} == {"true"}


class Told:
    """A source that says what it is given, one look each."""

    every_s = 0.001

    def __init__(self, *words):
        self._words = iter(words)

    def look(self):
        word = next(self._words)
        if isinstance(word, Exception):
            raise word
        return word


def test_a_notice_is_handed_on_once_and_trouble_is_said_once(caplog):
    notice, drained = Notice(why="gone", left_s=9.0), []
    source = Told(None, OSError("away"), OSError("away"), ValueError("no JSON"), None, notice)
    assert heed(source, lambda why, left_s: drained.append((why, left_s))) == notice
    assert drained == [("gone", 9.0)]
    assert [line.split(": ")[1] for line in caplog.messages] == ["OSError('away')", "ValueError('no JSON')"]


def test_a_notice_that_ray_does_not_take_is_handed_on_again(monkeypatch, caplog):
    monkeypatch.setattr("actors.notices._TRY_AGAIN_S", 0.001)
    tries = []

    def drain(why, left_s):
        tries.append(why)
        if len(tries) < 3:
            raise RuntimeError("no head")

    heed(Now(), drain)
    assert tries == ["asked to end"] * 3
    assert "Ray does not take the notice" in caplog.text


_NODE_THAT_IS_ASKED_TO_END = """
import os, subprocess, sys, time
import ray
from actors.cluster import draining_nodes, this_node
ray.init(num_cpus=1, include_dashboard=False)

# A node that nothing runs on would leave at once.
@ray.remote(num_cpus=1)
class Host:
    def steps(self):
        return 1

host = Host.remote()
ray.get(host.steps.remote())
mine, before = this_node(), draining_nodes()
# Other clusters may run on this machine.
os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
told = subprocess.run([sys.executable, "-m", "actors.notices", "now"], capture_output=True, text=True, timeout=120)
assert told.returncode == 0, told.stderr
deadline = time.monotonic() + 20
while draining_nodes() != {mine} and time.monotonic() < deadline:
    time.sleep(0.2)
assert before == frozenset() and draining_nodes() == {mine}, (before, draining_nodes())
assert ray.get(host.steps.remote()) == 1
assert "asked to end in 25 s: this node drains" in told.stderr, told.stderr
"""


@pytest.mark.ray
def test_ray_drains_the_node_that_it_is_said_on():
    # In a process of its own: the node that the other tests play on must not drain.
    done = subprocess.run(
        [sys.executable, "-c", _NODE_THAT_IS_ASKED_TO_END], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
