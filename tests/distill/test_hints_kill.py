"""A writer that is killed with -9: what it paid for is never asked again, and the finished state is that of an unbroken run.

What cannot be promised is a request in flight at the kill: the server may bill for it, and its answer is lost. Such requests are at most
`concurrency` a kill, and the ledger holds each at its worst, so that the budget is not passed by them either.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from actors.store import to_line
from actors.trajectory import Turn
from distill.hints.config import OpenAIWriterConfig
from distill.hints.spending import PICO
from distill.hints.writer import write_hints

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package

from writer_server import WriterServer, said

CONCURRENCY = 8
CHILD = """
import json, logging, sys
from pathlib import Path
from actors.trajectory import from_row
from distill.hints.config import OpenAIWriterConfig
from distill.hints.writer import write_hints
logging.basicConfig(level=logging.DEBUG)
folder, config = Path(sys.argv[1]), OpenAIWriterConfig.model_validate_json(sys.argv[2])
failures = [from_row(json.loads(line)) for line in (folder / "failures.jsonl").open()]
write_hints(failures, config, folder / "out")
"""
KEY = "sk-proj-no-key-but-a-canary-91bd"  # pragma: allowlist secret


@pytest.fixture
def serve():
    running = []

    def start(**settings):
        running.append(WriterServer(**settings).start())
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def failures(trajectory_of, panel_of, tmp_path):
    lost = [
        trajectory_of(
            task, success=False, turns=(Turn(reply=f"look {n}", action="look", observation="Nothing."),)
        )
        for n, task in enumerate(panel_of(60).tasks)
    ]
    (tmp_path / "failures.jsonl").write_text("".join(to_line(failure) + "\n" for failure in lost))
    return lost


def config_for(server, **changes):
    settings = {
        "model": "m",
        "base_url": server.url,
        "api_key_env": "CANARY_KEY",  # pragma: allowlist secret
        "concurrency": CONCURRENCY,
        "max_tokens": 200,
        "poll_s": 0.05,
        "max_cost_usd": 5.0,
        "usd_per_million_prompt_tokens": 2.5,
        "usd_per_million_completion_tokens": 10,
    }
    return OpenAIWriterConfig(**(settings | changes))


def start_child(folder, config, repository):
    with (folder / "child.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), config.model_dump_json()],
            cwd=repository,
            env=os.environ | {"PYTHONPATH": str(repository), "CANARY_KEY": KEY},
            stdout=log,
            stderr=log,
        )


def kill_when(child, happened):
    """-9 as soon as it has happened."""
    until = time.monotonic() + 60
    while not happened():
        assert child.poll() is None, "the child ended before it could be killed"
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()


def kept(folder):
    path = folder / "out" / "calls.jsonl"
    raw = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in raw[: raw.rfind(b"\n") + 1].splitlines()]


def held(folder):
    """Worst picodollars of each request of unknown fate."""
    sent = [json.loads(line) for line in (folder / "out" / "sent.jsonl").read_text().splitlines()]
    worst = {line["request"]: round(line["worst_usd"] * PICO) for line in sent if "worst_usd" in line}
    known = {line["request"] for line in sent if "billed" in line} | {
        call["request"] for call in kept(folder)
    }
    return {request: usd for request, usd in worst.items() if request not in known}


def assert_key_is_nowhere(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.name for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_writer_that_is_killed_twice_pays_for_nothing_that_it_kept_again(
    serve, failures, tmp_path, repository, monkeypatch
):
    monkeypatch.setenv("CANARY_KEY", KEY)
    server = serve(latency_s=0.05, faults={"500": 0.1, "bad_json": 0.1})
    config = config_for(server)
    before = []
    for num_billed in (15, 40):
        child = start_child(tmp_path, config, repository)
        kill_when(child, lambda n=num_billed: len(server.bills) >= n)
        time.sleep(0.2)  # What was in flight is billed by then.
        before.append(({call["key"] for call in kept(tmp_path)}, len(server.bills)))
    assert start_child(tmp_path, config, repository).wait(timeout=60) == 0, (
        tmp_path / "child.log"
    ).read_text()[-3000:]

    hints = write_hints(failures, config, tmp_path / "out", AssertionError("asked again"))
    assert said(hints) == said(write_hints(failures, config_for(serve()), tmp_path / "unbroken"))

    calls, lost = kept(tmp_path), held(tmp_path)
    assert len({call["key"] for call in calls}) == len(calls)
    for keys, _ in before:
        assert keys <= {call["key"] for call in calls}, "what was kept at a kill is kept for good"
    billed = [bill for bill in server.bills if bill.pico]
    assert len(billed) <= len(calls) + len(lost)
    assert 0 < len(lost) <= 2 * CONCURRENCY, "two kills, and nothing else was lost"
    again = Counter(bill.prompt for bill in billed)
    assert sum(count - 1 for count in again.values()) <= len(lost)
    known = sum(round(call["usd"] * PICO) for call in calls)
    assert known <= server.billed <= known + sum(lost.values())
    # To the picodollar: of a prompt that was billed more than once the last answer is the one that is kept.
    assert known == sum({bill.prompt: bill.pico for bill in billed}.values())
    assert_key_is_nowhere(tmp_path)


def created(server, folder):
    return server.batches


def uploaded(server, folder):
    return server.files


def looked_at(server, folder):
    return server.polls["batch_0"] > 1


def half_read(server, folder):
    return len(kept(folder)) > 5


@pytest.mark.parametrize(
    ("happened", "gate"),
    [(uploaded, "POST /files"), (created, "POST /batches"), (looked_at, None), (half_read, None)],
    ids=["uploaded", "created", "looked_at", "half_read"],
)
def test_a_batch_is_found_again_wherever_its_writer_was_killed(
    serve, failures, tmp_path, repository, monkeypatch, happened, gate
):
    monkeypatch.setenv("CANARY_KEY", KEY)
    server = serve(batch_polls=20 if happened is looked_at else 1)
    if gate:
        server.gates[gate] = threading.Event()  # The server has done it, the writer does not get to know.
    config = config_for(server, mode="batch")
    kill_when(start_child(tmp_path, config, repository), lambda: happened(server, tmp_path))
    if gate:
        server.gates.pop(gate).set()

    hints = write_hints(failures, config, tmp_path / "out")
    assert said(hints) == said(write_hints(failures, config_for(serve()), tmp_path / "unbroken"))
    assert len(server.batches) == 1
    assert len(server.files) == (3 if happened is uploaded else 2), (
        "input and output, and a file that nobody heard of"
    )
    assert set(Counter(bill.prompt for bill in server.bills).values()) == {1}
    calls = kept(tmp_path)
    assert len(calls) == len({call["key"] for call in calls}) == len(failures)
    assert held(tmp_path) == {}
    assert sum(round(call["usd"] * PICO) for call in calls) == server.billed
    assert_key_is_nowhere(tmp_path)
