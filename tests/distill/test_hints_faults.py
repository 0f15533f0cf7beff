"""The writer against a server that fails in every way at once: nothing lost or doubled, the bill within the budget to the picodollar."""

import json
import logging
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from actors.trajectory import Turn
from distill.hints.config import OpenAIWriterConfig
from distill.hints.spending import PICO
from distill.hints.writer import BudgetReachedError, WriterError, write_hints

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package

from writer_server import FAULTS, FREE, SILENT, WriterServer, said

KEY = "sk-proj-no-key-but-a-canary-7f3a"  # pragma: allowlist secret
MIXED = dict.fromkeys(FAULTS, 0.07) | {"timeout": 0.03}
NUM_FAILURES = 150


def config_for(server, **changes):
    settings = {
        "model": "m",
        "base_url": server.url,
        "api_key_env": "CANARY_KEY",  # pragma: allowlist secret
        "concurrency": 64,
        "timeout_s": 60.0,
        "try_timeout_s": 4.0,
        "max_attempts": 12,
        "max_tokens": 200,
        "usd_per_million_prompt_tokens": 2.5,
        "usd_per_million_completion_tokens": 10,
    }
    return OpenAIWriterConfig(**(settings | changes))


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("CANARY_KEY", KEY)


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
def failures(trajectory_of, panel_of):
    """Every failure has a trace of its own."""
    return [
        trajectory_of(
            task, success=False, turns=(Turn(reply=f"look {n}", action="look", observation="Nothing."),)
        )
        for n, task in enumerate(panel_of(NUM_FAILURES).tasks)
    ]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def ledger(folder):
    """(picodollars of kept replies, worst picodollars of requests of unknown fate, requests that left) as the files tell."""
    calls = lines_of(folder / "calls.jsonl")
    sent = lines_of(folder / "sent.jsonl")
    worst = {line["request"]: round(line["worst_usd"] * PICO) for line in sent if "worst_usd" in line}
    open_ = (
        worst.keys() - {line["request"] for line in sent if "billed" in line} - {c["request"] for c in calls}
    )
    return sum(round(call["usd"] * PICO) for call in calls), {r: worst[r] for r in open_}, len(worst)


def assert_key_is_nowhere(folder, *texts):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
    for text in texts:
        assert KEY not in text


def test_every_fault_under_64_requests_at_once(serve, failures, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    server = serve(faults=MIXED, seed=1, latency_s=0.3)
    hints = write_hints(failures, config_for(server), tmp_path / "faulty")

    calm = write_hints(failures, config_for(serve()), tmp_path / "calm")
    assert said(hints) == said(calm)
    assert {bill.fault for bill in server.bills} == {None, *FAULTS}
    assert server.peak >= 48, "requests at once"

    known, open_, num_sent = ledger(tmp_path / "faulty")
    calls = lines_of(tmp_path / "faulty" / "calls.jsonl")
    assert num_sent == len(server.bills), "every request is written down, and no other"
    told = [bill for bill in server.bills if bill.fault not in (*FREE, *SILENT)]
    silent = [bill for bill in server.bills if bill.fault in SILENT]
    late = len(open_) - len(
        silent
    )  # answers that a busy machine brought after their time; none on a calm one
    assert len(told) == len(calls) + late
    assert 0 <= sum(bill.pico for bill in told) - known <= late * max(bill.pico for bill in told)
    assert sum(count - 1 for count in Counter(bill.prompt for bill in told).values()) == late
    assert server.billed <= known + sum(open_.values())
    assert len({call["key"] for call in calls}) == len(calls)
    summary = json.loads((tmp_path / "faulty" / "writer.json").read_text())
    assert round(summary["usd"] * PICO) == known
    assert (summary["num_requests"], summary["num_held"]) == (num_sent, len(open_))
    assert_key_is_nowhere(tmp_path, caplog.text, *capfd.readouterr())


@pytest.mark.parametrize("poor", [0.03, 0.12])
def test_the_bill_stays_within_the_budget_and_more_money_buys_only_the_rest(serve, failures, tmp_path, poor):
    server, few = serve(faults=MIXED, seed=2, hang_s=2.5), failures[:70]
    with pytest.raises(BudgetReachedError) as error:
        write_hints(few, config_for(server, max_cost_usd=poor, try_timeout_s=1.5), tmp_path)
    known, open_, _ = ledger(tmp_path)
    assert server.billed <= known + sum(open_.values()) <= round(poor * PICO)
    assert round(poor * PICO) - known - sum(open_.values()) < 10 * 10**9, "less than one call's worst is left"
    bought = {call["key"]: call for call in lines_of(tmp_path / "calls.jsonl")}
    assert 0 < len(bought) < len(few)

    assert len(
        write_hints(few, config_for(server, max_cost_usd=100, try_timeout_s=1.5), tmp_path)
    ) == 2 * len(few)
    after = {call["key"]: call for call in lines_of(tmp_path / "calls.jsonl")}
    assert bought.items() <= after.items(), "what was bought is kept"
    assert len(after) == len(lines_of(tmp_path / "calls.jsonl"))
    assert_key_is_nowhere(tmp_path, str(error.value), repr(error.value))


@pytest.mark.parametrize("fault", [*FREE, *SILENT])
def test_a_server_that_only_fails_names_no_key(serve, failures, tmp_path, caplog, fault):
    caplog.set_level(logging.DEBUG)
    server = serve(faults={fault: 1.0}, hang_s=0.4)
    config = config_for(server, max_attempts=2, try_timeout_s=0.2, concurrency=4)
    with pytest.raises(WriterError, match="of 150 failures got no answer") as error:
        write_hints(failures, config, tmp_path)
    assert len(server.bills) <= 2 * 8, "a server that is down is not asked about every failure"
    assert (tmp_path / "writer.json").exists()
    assert_key_is_nowhere(tmp_path, str(error.value), repr(error.value.__cause__), caplog.text)


def test_a_server_that_sends_the_key_back_does_not_get_it_into_a_file(serve, failures, tmp_path, monkeypatch):
    server = serve()
    monkeypatch.setattr("writer_server.hints_of", lambda body: [f"Use {KEY} to open the {{container}}."])
    write_hints(failures[:3], config_for(server), tmp_path)
    assert "[API key]" in (tmp_path / "calls.jsonl").read_text()
    assert_key_is_nowhere(tmp_path)


def test_the_requests_and_tokens_of_a_minute_are_held_back(serve, failures, tmp_path):
    server = serve()
    began = time.monotonic()
    write_hints(failures[:20], config_for(server, requests_per_minute=600), tmp_path / "requests")
    assert time.monotonic() - began > 19 * 60 / 600
    began = time.monotonic()
    write_hints(failures[:20], config_for(server, tokens_per_minute=20 * 60 * 200), tmp_path / "tokens")
    assert time.monotonic() - began > 19 * 200 / (20 * 200)  # Each counts for more than its `max_tokens`.
