"""Batch mode: one job for all that is owed, what failed in the next, and the ledger to the picodollar."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from actors.trajectory import Turn
from distill.hints.config import OpenAIWriterConfig
from distill.hints.spending import PICO
from distill.hints.writer import BudgetReachedError, WriterError, write_hints

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package

from writer_server import WriterServer, said

KEY = "sk-proj-no-key-but-a-canary-c0de"  # pragma: allowlist secret


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("CANARY_KEY", KEY)
    running = []

    def start(**settings):
        running.append(WriterServer(**settings).start())
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def failures(trajectory_of, panel_of):
    return [
        trajectory_of(
            task, success=False, turns=(Turn(reply=f"look {n}", action="look", observation="Nothing."),)
        )
        for n, task in enumerate(panel_of(24).tasks)
    ]


def config_for(server, **changes):
    settings = {
        "model": "m",
        "mode": "batch",
        "base_url": server.url,
        "api_key_env": "CANARY_KEY",  # pragma: allowlist secret
        "max_tokens": 200,
        "poll_s": 0.02,
        "usd_per_million_prompt_tokens": 2.5,
        "usd_per_million_completion_tokens": 10,
    }
    return OpenAIWriterConfig(**(settings | changes))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def summary(folder):
    return json.loads((folder / "writer.json").read_text())


def test_a_batch_writes_what_live_calls_write_and_costs_what_the_server_bills(serve, failures, tmp_path):
    server = serve()
    hints = write_hints(failures, config_for(server), tmp_path / "batch")
    assert said(hints) == said(write_hints(failures, config_for(serve(), mode="live"), tmp_path / "live"))
    assert len(server.batches) == 1
    assert round(summary(tmp_path / "batch")["usd"] * PICO) == server.billed
    requests = [json.loads(line) for line in server.files["file-0"].splitlines()]
    assert {(request["method"], request["url"]) for request in requests} == {("POST", "/v1/chat/completions")}
    assert len({request["custom_id"] for request in requests}) == len(failures)
    assert all(request["body"]["response_format"]["type"] == "json_schema" for request in requests)
    seen = len(server.paths)
    assert write_hints(failures, config_for(server), tmp_path / "batch") == hints
    assert len(server.paths) == seen, "a finished folder asks nothing, not even after its batches"


def test_what_failed_or_was_no_use_is_asked_again_in_the_next_batch(serve, failures, tmp_path):
    server = serve(line_faults=("500", "", "expired", "bad_json", "lost", ""))
    hints = write_hints(failures, config_for(server), tmp_path / "batch")
    assert said(hints) == said(write_hints(failures, config_for(serve(), mode="live"), tmp_path / "live"))
    first, second = (server.files[f"file-{n}"].splitlines() for n in range(2))
    assert (len(first), len(second)) == (24, 16)
    assert sum(len(json.loads(line)["body"]["messages"]) == 4 for line in second) == 4, "re-asked"
    written = summary(tmp_path / "batch")
    lost = [bill for bill in server.bills if bill.fault == "lost"]
    assert (written["num_held"], len(lost)) == (4, 4)
    assert round(written["usd"] * PICO) == server.billed - sum(bill.pico for bill in lost)
    assert server.billed <= round((written["usd_spent"] + written["usd_held"]) * PICO)
    assert written["num_malformed"] == 4


def test_a_batch_holds_no_more_than_the_budget_reaches_for(serve, failures, tmp_path):
    server = serve()
    with pytest.raises(BudgetReachedError, match=r"USD are spent and \d+ of 24 failures"):
        write_hints(failures, config_for(server, max_cost_usd=0.02), tmp_path)
    assert len(server.batches) > 1, "what a batch did not use pays for the next one"
    assert 0 < server.billed <= round(0.02 * PICO)
    bought = len(server.bills)
    hints = write_hints(failures, config_for(server, max_cost_usd=1.0), tmp_path)
    assert len(hints) == 48
    assert bought < len(server.bills) == 24
    assert set(Counter(bill.prompt for bill in server.bills).values()) == {1}


def test_lines_that_fail_for_ever_are_given_up(serve, failures, tmp_path, monkeypatch):
    monkeypatch.setattr("writer_server._answer", _always_500)
    server = serve()
    with pytest.raises(WriterError, match=r"24 of 24 failures got no answer.*HTTP 500; 0 replies are kept"):
        write_hints(failures, config_for(server, max_attempts=3), tmp_path)
    assert len(server.batches) == 3
    assert (summary(tmp_path)["usd_held"], server.billed) == (0, 0)


def test_a_refused_batch_says_why_and_costs_nothing(serve, failures, tmp_path, monkeypatch):
    server = serve()
    monkeypatch.setattr("writer_server._view", _refused)
    with pytest.raises(WriterError, match=r"refuses the batch \(token_limit_exceeded\)") as error:
        write_hints(failures, config_for(server), tmp_path)
    assert KEY not in str(error.value)
    assert len(server.batches) == 1
    assert summary(tmp_path)["usd_held"] == 0


def test_a_server_without_batches_is_named(failures, serve, tmp_path):
    url = serve().url.replace("/v1", "/v2")
    config = config_for(serve(), base_url=url)
    with pytest.raises(WriterError, match=r"v2 .*knows no such model or address \(HTTP 404\)"):
        write_hints(failures, config, tmp_path)


def _always_500(server, request, fault, output, errors):
    response = {"status_code": 500, "body": {"error": {"message": KEY}}}
    errors.append({"id": "r", "custom_id": request["custom_id"], "response": response, "error": None})


def _refused(batch):
    errors = {
        "object": "list",
        "data": [{"code": "token_limit_exceeded", "message": f"no, {KEY}", "line": None}],
    }
    shown = {
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "created_at": 0,
    }
    return shown | {
        "id": batch["id"],
        "input_file_id": batch["input_file_id"],
        "status": "failed",
        "errors": errors,
    }
