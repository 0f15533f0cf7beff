"""The endpoint client against a local server that answers like OpenAI, faults included."""

import pytest
from openai_server import GOOD, Server

from actors.chat import GenerateError, Message, PromptTooLongError, Sampling
from actors.config import EndpointConfig
from actors.openai_chat import OpenAIChat
from actors.openai_client import place_of

KEY = "sk-not-a-key-but-a-canary"  # pragma: allowlist secret
MESSAGES = (Message(role="system", content="s"), Message(role="user", content="u"))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    running = Server()
    yield running
    running.close()


async def ask(server, *, sampling=Sampling(), **config):
    settings = {"model": "m", "base_url": server.url, "timeout_s": 10.0} | config
    chat = OpenAIChat(EndpointConfig(**settings), base_delay_s=0.01)
    return await chat(MESSAGES, sampling, session="s")


async def test_text_and_token_counts_come_back(server):
    completion = await ask(server, sampling=Sampling(temperature=0.5, max_tokens=7, stop=("\n",), seed=3))
    assert (completion.text, completion.prompt_tokens, completion.cached_tokens) == ("look", 11, 8)
    assert (completion.completion_tokens, completion.finish_reason) == (2, "stop")
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    sent = {name: body[name] for name in ("temperature", "max_tokens", "stop", "seed")}
    assert sent == {"temperature": 0.5, "max_tokens": 7, "stop": ["\n"], "seed": 3}


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, {"error": {"message": "oops"}}),
        (429, {"retry-after": "0"}, {"error": {"message": "slow down"}}),
        (503, {}, b"<html>gateway</html>"),
        (200, {}, {"choices": []}),
    ],
)
async def test_passing_faults_are_tried_again(server, fault):
    server.answers = [fault, fault, (200, {}, GOOD)]
    assert (await ask(server)).text == "look"
    assert len(server.requests) == 3


async def test_retries_end_and_the_error_says_where_and_what(server):
    server.answers = [(500, {}, {"error": {"message": "oops"}})]
    with pytest.raises(
        GenerateError, match=r"127\.0\.0\.1:\d+/v1 \(model 'm'\) after 3 tries: it answers HTTP 500"
    ) as error:
        await ask(server, max_attempts=3)
    assert error.value.retryable
    assert len(server.requests) == 3


async def test_the_servers_pause_is_honoured_up_to_the_deadline(server):
    server.answers = [(429, {"retry-after": "60"}, {"error": {"message": "slow down"}})]
    with pytest.raises(GenerateError, match="HTTP 429"):
        await ask(server, timeout_s=5)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "status, body, message",
    [
        (401, {"error": {"message": f"bad key {KEY}"}}, "refuses the API key .HTTP 401.; check the variable"),
        (404, {"error": {"message": "no model"}}, "knows no such model or address"),
        (400, {"error": {"message": "bad field"}}, "refuses the request: HTTP 400"),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, "quota is used up"),
    ],
)
async def test_what_cannot_pass_is_not_tried_again_and_the_key_is_never_shown(server, status, body, message):
    server.answers = [(status, {}, body)]
    with pytest.raises(GenerateError, match=message) as error:
        await ask(server)
    assert not error.value.retryable
    assert len(server.requests) == 1
    assert KEY not in str(error.value) + repr(error.value) + repr(error.value.__cause__)


async def test_a_prompt_beyond_the_context_is_told_apart(server):
    server.answers = [(400, {}, {"error": {"message": "x", "code": "context_length_exceeded"}})]
    with pytest.raises(PromptTooLongError, match="longer than the model's context"):
        await ask(server)


async def test_an_unreachable_endpoint_says_what_to_check(server):
    with pytest.raises(GenerateError, match=r"127\.0\.0\.1:9/v1 .*cannot be reached .*is base_url right"):
        await ask(server, base_url="http://127.0.0.1:9/v1", max_attempts=2)


async def test_a_missing_key_is_named_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    chat = OpenAIChat(EndpointConfig(model="m"))
    with pytest.raises(GenerateError, match="environment variable OPENAI_API_KEY is not set") as error:
        await chat(MESSAGES, Sampling(), session="s")
    assert not error.value.retryable


@pytest.mark.parametrize("key", [f"{KEY}\nX", f"two {KEY}", f"{KEY}\u2026"])
async def test_a_key_with_foreign_signs_is_refused_without_showing_it(server, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(GenerateError, match="OPENAI_API_KEY holds blanks or signs") as error:
        await ask(server)
    assert KEY not in str(error.value)
    assert not server.requests


async def test_a_line_break_after_the_key_is_no_part_of_it(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    await ask(server)
    assert server.requests[0][1]["authorization"] == f"Bearer {KEY}"


def test_a_password_in_the_address_is_not_named():
    address = "https://me:secret@host:8/v1?key=secret"  # pragma: allowlist secret
    assert place_of(address, "m") == "https://host:8/v1 (model 'm')"
