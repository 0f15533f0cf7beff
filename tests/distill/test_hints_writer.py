"""The writers: what a reply gives, what a restart costs, and what is kept when something breaks."""

import json
from collections import Counter

import httpx
import openai
import pyarrow.parquet as pq
import pytest

from actors.chat import Completion, GenerateError, PromptTooLongError
from actors.trajectory import EndReason, Turn
from distill.hints.config import DiagnosticianConfig, FleetWriterConfig, OpenAIWriterConfig
from distill.hints.conversation import trace_text
from distill.hints.hint import from_row
from distill.hints.reply import read_reply
from distill.hints.writer import BudgetReachedError, WriterError, write_hints

CONFIG = OpenAIWriterConfig(
    model="m",
    base_url="http://127.0.0.1:9/v1",
    concurrency=2,
    usd_per_million_prompt_tokens=10,
    usd_per_million_completion_tokens=20,
)
HINT = "Open every closed {container} and look inside."


def good(*texts: str) -> str:
    return json.dumps({"hints": [{"text": text} for text in texts or (HINT,)]})


class FakeModel:
    """Answers by script: a reply, or an error to raise, for the n-th call; the last entry goes on."""

    def __init__(self, *script):
        self.script, self.calls = script, []

    async def __call__(self, messages, sampling, *, session):
        self.calls.append((session, messages))
        entry = self.script[min(len(self.calls), len(self.script)) - 1]
        if isinstance(entry, Exception):
            raise entry
        return Completion(
            text=entry, prompt_tokens=1000, cached_tokens=0, completion_tokens=100, finish_reason="stop"
        )


@pytest.fixture
def failures(trajectory_of, panel_of):
    return [trajectory_of(task, success=False) for task in panel_of(6).tasks]


def summary(folder):
    return json.loads((folder / "writer.json").read_text())


@pytest.mark.parametrize(
    ("reply", "texts"),
    [
        (good(), [HINT]),
        ("```json\n" + good() + "\n```", [HINT]),
        ("Here you are: " + good() + " Good luck!", [HINT]),
        ('{"hints": [{"text": "' + HINT + '"},]}', [HINT]),
        ('{"hints": ["' + HINT + '"]}', [HINT]),
        ('[{"hint": "' + HINT + '"}]', [HINT]),
        ('{"hints": [{"text": "' + HINT + '", "kind": "heat"}], "why": "x"}', [HINT]),
        ('{"hints": [{"text": "' + HINT + '"}, {"text": "Heat the {obj', [HINT]),
        ('{"hints": []}', []),
        (
            good(HINT, HINT.upper(), "Go to fridge 1 now.", "Heat the {object} first."),
            [HINT, "Heat the {object} first."],
        ),
    ],
)
def test_replies_are_read_strictly_or_saved(reply, texts):
    reading = read_reply(reply, max_hints=4)
    assert (list(reading.texts), reading.problem) == (texts, None)


@pytest.mark.parametrize("reply", ["", "I cannot tell.", '{"hints": 3}', '{"text', "null", "[[[["])
def test_replies_without_hints_have_a_problem_and_never_raise(reply):
    reading = read_reply(reply, max_hints=4)
    assert reading.texts == ()
    assert reading.problem


def test_a_bad_hint_costs_only_itself():
    reading = read_reply(good("Go to fridge 1 now.", HINT), max_hints=1)
    assert reading.texts == (HINT,)
    assert reading.rejected[0][0] == "Go to fridge 1 now."


def test_the_diagnostician_writes_records_with_lineage(failures, tmp_path):
    hints = write_hints(failures, DiagnosticianConfig(max_slip_share=0.9), tmp_path)
    assert hints
    assert {source for hint in hints for source in hint.sources} <= {failure.id for failure in failures}
    assert [from_row(row) for row in pq.read_table(tmp_path / "written.parquet").to_pylist()] == hints
    assert summary(tmp_path)["num_hints"] == len(hints)


def test_a_model_is_asked_once_for_each_failure_and_a_restart_pays_nothing(failures, tmp_path):
    model = FakeModel(good(HINT, "Heat the {object} first."))
    hints = write_hints(failures, CONFIG, tmp_path, model)
    assert len(model.calls) == 6
    assert Counter(hint.text for hint in hints) == {HINT: 6, "Heat the {object} first.": 6}
    assert {(hint.writer, hint.kind) for hint in hints} == {("m", failure.task.kind) for failure in failures}
    assert summary(tmp_path)["usd"] == pytest.approx(6 * (1000 * 10 + 100 * 20) / 1e6)
    silent = FakeModel(AssertionError("asked again"))
    assert write_hints(failures, CONFIG, tmp_path, silent) == hints
    again = summary(tmp_path)
    assert (again["num_calls"], again["num_cached_calls"], again["usd"]) == (0, 6, pytest.approx(0.072))


def test_the_prompt_holds_the_episode_and_no_oracle(failures, tmp_path):
    model = FakeModel(good())
    write_hints(failures[:1], CONFIG, tmp_path, model)
    user = model.calls[0][1][1].content
    for turn in failures[0].turns:
        assert turn.reply in user
        assert turn.observation in user
    assert failures[0].task.goal in user
    assert "{object}" in user
    assert "$" not in user


def test_malformed_json_is_asked_again_once_and_never_costs_the_others(failures, tmp_path):
    model = FakeModel("no json", good(), "no json", "still none", good())
    hints = write_hints(failures, CONFIG.model_copy(update={"concurrency": 1}), tmp_path, model)
    assert len(hints) == 5
    assert (summary(tmp_path)["num_malformed"], summary(tmp_path)["num_without_hints"]) == (3, 1)
    repair = model.calls[1][1]
    assert [m.role for m in repair] == ["system", "user", "assistant", "user"]
    assert "invalid json" in repair[-1].content


ONE_BY_ONE = CONFIG.model_copy(update={"concurrency": 1, "max_attempts": 1})


def test_an_unreachable_endpoint_loses_nothing(failures, tmp_path):
    down = GenerateError("it cannot be reached", retryable=True)
    model = FakeModel(good(), down)
    with pytest.raises(
        WriterError,
        match=r"5 of 6 failures got no answer.*cannot be reached; 1 replies are kept .*start again",
    ):
        write_hints(failures, ONE_BY_ONE, tmp_path, model)
    assert len(model.calls) == 4, "an endpoint that is down is not asked about every failure"
    assert not (tmp_path / "written.parquet").exists()
    up = FakeModel(good())
    hints = write_hints(failures, ONE_BY_ONE, tmp_path, up)
    assert (len(up.calls), len(hints)) == (5, 6)


def test_one_call_that_fails_does_not_keep_the_others_from_being_asked(failures, tmp_path):
    model = FakeModel(good(), GenerateError("it answers HTTP 500", retryable=True), good())
    with pytest.raises(WriterError, match=r"1 of 6 failures got no answer, first: .*HTTP 500"):
        write_hints(failures, ONE_BY_ONE, tmp_path, model)
    again = FakeModel(good())
    assert len(write_hints(failures, ONE_BY_ONE, tmp_path, again)) == 6
    assert len(again.calls) == 1


def test_one_refused_prompt_does_not_stop_the_others(failures, tmp_path):
    too_long = PromptTooLongError("prompt too long")
    model = FakeModel(good(), too_long, good())
    hints = write_hints(failures, ONE_BY_ONE, tmp_path, model)
    assert len(hints) == 5
    assert [e["error"] for e in summary(tmp_path)["errors"]] == ["prompt too long"]


def test_failures_that_ask_the_same_are_asked_once(trajectory_of, panel_of, tmp_path):
    task = panel_of(1).tasks[0]
    turns = trajectory_of(task, success=False).turns
    same = [trajectory_of(task, success=False, seed=seed, turns=turns) for seed in range(3)]
    assert len({failure.id for failure in same}) == 3
    model = FakeModel(good())
    hints = write_hints(same, CONFIG, tmp_path, model)
    assert len(model.calls) == 1
    assert sorted(hint.sources for hint in hints) == sorted((failure.id,) for failure in same)
    assert summary(tmp_path)["usd"] == pytest.approx(0.012)


def test_a_call_is_kept_with_all_that_its_hints_come_from(failures, tmp_path):
    write_hints(failures[:2], ONE_BY_ONE, tmp_path, FakeModel("no json", good()))
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    first, again, other = calls
    ids = sorted(failure.id for failure in failures[:2])
    assert [call["trajectory"] for call in calls] == [ids[0], ids[0], ids[1]]
    assert [call["reask"] for call in calls] == [0, 1, 0]
    assert len({call["prompt_sha256"] for call in calls}) == len({call["request"] for call in calls}) == 3
    assert (first["text"], again["text"]) == ("no json", good()), (
        "a reply that is no use was paid all the same"
    )
    expected = {"model": "m", "prompt": "failure", "prompt_tokens": 1000, "completion_tokens": 100}
    assert (expected | {"usd": 0.012, "uses_oracle": False, "finish_reason": "stop"}).items() <= other.items()


def test_calls_of_an_earlier_version_are_read(failures, tmp_path):
    write_hints(failures, CONFIG, tmp_path, FakeModel(good()))
    path = tmp_path / "calls.jsonl"
    old = ("key", "text", "prompt_tokens", "completion_tokens", "usd")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({name: line[name] for name in old}) + "\n" for line in lines))
    (tmp_path / "sent.jsonl").unlink()
    assert len(write_hints(failures, CONFIG, tmp_path, FakeModel(AssertionError("asked again")))) == 6


def test_a_wrong_key_stops_at_the_first_call(failures, tmp_path):
    model = FakeModel(GenerateError("refuses the key", retryable=False))
    with pytest.raises(WriterError, match="refuses the key"):
        write_hints(failures, CONFIG.model_copy(update={"concurrency": 1}), tmp_path, model)
    assert len(model.calls) == 1


POOR = CONFIG.model_copy(update={"max_cost_usd": 0.055, "concurrency": 6, "max_tokens": 100})


def test_money_stops_before_the_limit_and_more_money_buys_only_the_rest(failures, tmp_path):
    model = FakeModel(good())
    with pytest.raises(
        BudgetReachedError, match=r"max_cost_usd=0\.055 .* USD are spent .*raise writer\.max_cost_usd"
    ):
        write_hints(failures, POOR, tmp_path, model)
    bought = len(model.calls)
    assert 0 < bought < 6
    assert summary(tmp_path)["usd"] == pytest.approx(bought * 0.012)
    assert summary(tmp_path)["num_unpaid"] == 6 - bought
    assert not (tmp_path / "written.parquet").exists()
    rich = POOR.model_copy(update={"max_cost_usd": 1.0})
    assert len(write_hints(failures, rich, tmp_path, model)) == len(model.calls) == 6
    whole = write_hints(failures, CONFIG, tmp_path / "unbroken", FakeModel(good()))
    assert write_hints(failures, rich, tmp_path, FakeModel(AssertionError("asked again"))) == whole


def test_a_study_may_go_on_with_what_the_money_bought(failures, tmp_path):
    model = FakeModel(good())
    config = POOR.model_copy(update={"on_budget": "go_on"})
    hints = write_hints(failures, config, tmp_path, model)
    assert 0 < len(hints) == len(model.calls) < 6
    written = summary(tmp_path)
    assert written["usd"] <= 0.055
    assert "max_cost_usd=0.055" in written["stopped"]
    assert pq.read_table(tmp_path / "written.parquet").num_rows == len(hints)


def test_replies_bought_for_another_folder_are_taken_over(failures, tmp_path):
    write_hints(failures[:4], CONFIG, tmp_path / "a", FakeModel(good()))
    paid = tmp_path / "a" / "calls.jsonl"
    torn = paid.read_bytes()[:-20]
    paid.write_bytes(torn)
    model = FakeModel(good())
    hints = write_hints(failures, CONFIG, tmp_path / "b", model, paid_before=[paid])
    assert (len(hints), len(model.calls)) == (6, 3)
    assert summary(tmp_path / "b")["usd"] == pytest.approx(6 * 0.012)
    assert paid.read_bytes() == torn, "another's file is read only"
    silent = FakeModel(AssertionError("asked again"))
    assert write_hints(failures, CONFIG, tmp_path / "b", silent) == hints


def test_a_limit_without_prices_is_refused():
    with pytest.raises(ValueError, match="limits nothing while both prices are 0"):
        OpenAIWriterConfig(model="m", max_cost_usd=1.0)


def test_only_money_that_a_study_goes_on_with_decides_what_is_written():
    decides = OpenAIWriterConfig.decisive.fget
    assert decides(CONFIG.model_copy(update={"timeout_s": 1.0, "max_cost_usd": 1.0})) == decides(CONFIG)
    assert decides(CONFIG.model_copy(update={"temperature": 1.0})) != decides(CONFIG)
    going_on = POOR.model_copy(update={"on_budget": "go_on"})
    assert decides(going_on) != decides(POOR)
    assert decides(going_on.model_copy(update={"max_cost_usd": None})) == decides(POOR)


def test_a_line_torn_by_a_kill_is_asked_again_and_the_rest_is_kept(failures, tmp_path):
    write_hints(failures, CONFIG, tmp_path, FakeModel(good()))
    calls = tmp_path / "calls.jsonl"
    calls.write_bytes(calls.read_bytes()[:-20])
    model = FakeModel(good())
    assert len(write_hints(failures, CONFIG, tmp_path, model)) == 6
    assert len(model.calls) == 1
    assert len(calls.read_text().splitlines()) == 6


FLEET = FleetWriterConfig(concurrency=2)


def test_the_engines_of_ones_own_write_hints_and_a_reply_out_of_form_is_asked_again(failures, tmp_path):
    model = FakeModel("Sure! I would open things.", "```json\n" + good() + "\n```")
    hints = write_hints(failures, FLEET, tmp_path, model, model="pocket:1a2b")
    assert (len(hints), len(model.calls)) == (6, 7)
    assert {hint.writer for hint in hints} == {"pocket:1a2b"}
    assert (summary(tmp_path)["usd"], summary(tmp_path)["num_malformed"]) == (0, 1)
    silent = FakeModel(AssertionError("asked again"))
    assert write_hints(failures, FLEET, tmp_path, silent, model="pocket:1a2b") == hints
    other = FakeModel(good())
    write_hints(failures, FLEET, tmp_path, other, model="pocket:ffff")
    assert len(other.calls) == 6, "other weights, other replies"


def test_an_engine_that_dies_during_a_call_loses_nothing(failures, tmp_path, monkeypatch):
    monkeypatch.setattr("actors.patience.asyncio.sleep", _no_pause)
    died = GenerateError("engine 0 died during a call", retryable=True)
    model = FakeModel(good(), died, died, good())
    assert len(write_hints(failures, FLEET, tmp_path, model, model="pocket:1a2b")) == 6
    assert len(model.calls) == 8


def test_a_fleet_without_engines_is_refused(failures, tmp_path):
    with pytest.raises(ValueError, match="needs the engines as `generate`"):
        write_hints(failures, FLEET, tmp_path)


async def _no_pause(seconds):
    pass


def test_successes_and_errors_of_the_machinery_are_refused(trajectory_of, panel_of, tmp_path):
    task = panel_of(1).tasks[0]
    lost = trajectory_of(task, success=False, end=EndReason.ERROR, error="host died")
    for wrong, word in ((trajectory_of(task), "succeeded"), (lost, "host died")):
        with pytest.raises(ValueError, match=word):
            write_hints([wrong], DiagnosticianConfig(), tmp_path)


def test_a_long_episode_loses_its_middle(trajectory_of, panel_of):
    turns = tuple(Turn(reply=f"go to shelf {i}", action="x", observation=f"seen {i}") for i in range(500))
    text = trace_text(trajectory_of(panel_of(1).tasks[0], success=False, turns=turns), 2000)
    assert len(text) < 2100
    assert "go to shelf 0" in text
    assert text.endswith("seen 499")
    assert "characters left out" in text


def serve(monkeypatch, *answers):
    """The real client over a transport that answers by script; returns the requests and the pauses seen."""
    seen = []

    def handle(request):
        seen.append(json.loads(request.content))
        answer = answers[min(len(seen), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    original = openai.AsyncOpenAI
    client = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    monkeypatch.setattr(openai, "AsyncOpenAI", lambda **options: original(**options, http_client=client))

    async def no_pause(seconds):
        seen.append(seconds)

    monkeypatch.setattr("actors.patience.asyncio.sleep", no_pause)
    return seen


def answered(text: str) -> httpx.Response:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return httpx.Response(200, json=body | {"usage": usage})


@pytest.mark.parametrize("json_schema", [True, False])
def test_the_endpoint_is_asked_for_the_schema_where_it_knows_it(failures, tmp_path, monkeypatch, json_schema):
    busy = httpx.Response(429, headers={"retry-after": "3"}, json={"error": {"message": "slow down"}})
    seen = serve(monkeypatch, busy, answered(good()))
    hints = write_hints(failures[:1], CONFIG.model_copy(update={"json_schema": json_schema}), tmp_path)
    assert [hint.text for hint in hints] == [HINT]
    assert seen[1] >= 3.0
    assert ("response_format" in seen[0]) == json_schema
    if json_schema:
        schema = seen[0]["response_format"]["json_schema"]
        assert schema["strict"] and schema["schema"]["required"] == ["hints"]
    assert summary(tmp_path)["prompt_tokens"] == 7


@pytest.mark.parametrize(
    ("answer", "message", "requests"),
    [
        (httpx.ConnectError("refused"), r"http://127\.0\.0\.1:9/v1 .*cannot be reached", 4),
        (httpx.Response(503, json={"error": {"message": "down"}}), "HTTP 503", 4),
        (httpx.Response(401, json={"error": {"message": "no"}}), "refuses the API key", 1),
        (httpx.Response(404, json={"error": {"message": "no"}}), "no such model", 1),
    ],
)
def test_what_is_wrong_with_an_endpoint_reaches_the_reader(
    failures, tmp_path, monkeypatch, answer, message, requests
):
    seen = serve(monkeypatch, answer)
    with pytest.raises(WriterError, match=message):
        write_hints(failures[:1], CONFIG, tmp_path)
    assert len([entry for entry in seen if isinstance(entry, dict)]) == requests


def test_a_missing_key_is_named(failures, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(WriterError, match="NO_SUCH_KEY is not set"):
        config = OpenAIWriterConfig(model="m", api_key_env="NO_SUCH_KEY")  # pragma: allowlist secret
        write_hints(failures, config, tmp_path)
