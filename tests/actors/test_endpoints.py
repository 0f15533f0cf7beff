"""Several servers in the place of a fleet: who is asked, and what becomes of episodes whose server fails."""

import asyncio

import pytest
from openai_server import GOOD, Server
from pydantic import ValidationError

from actors.chat import GenerateError, Message, Sampling
from actors.config import EndpointConfig
from actors.endpoints import Endpoints
from actors.openai_chat import OpenAIOnce
from actors.placed import PlacedModels
from actors.player import open_model

MESSAGES = (Message(role="user", content="u"),)
BROKEN = (500, {}, {"error": {"message": "oops"}})


@pytest.fixture
def servers(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    running = [Server(), Server()]
    yield running
    for server in running:
        server.close()


def endpoints(servers, *, rest_s=60.0, **config):
    urls = tuple(server.url for server in servers)
    return Endpoints(
        EndpointConfig(model="m", base_urls=urls, timeout_s=20, **config), base_delay_s=0.001, rest_s=rest_s
    )


async def ask(models, session):
    return await models.generate_for(None)(MESSAGES, Sampling(), session=session)


def asked(servers):
    return [len(server.requests) for server in servers]


async def test_episodes_are_shared_and_stay_with_their_server(servers):
    models = endpoints(servers)
    for _ in range(3):
        await asyncio.gather(*(ask(models, session) for session in ("s", "t")))
    assert asked(servers) == [3, 3]
    for _ in range(2):
        await ask(models, "s")
    assert sorted(asked(servers)) == [3, 5]
    assert sorted(models.held_tokens.values()) == [13, 13]


async def test_the_drivers_choice_is_heeded(servers):
    models = endpoints(servers)
    assert isinstance(models, PlacedModels)
    for n in range(4):
        models.place(f"s{n}", servers[1].url)
        await ask(models, f"s{n}")
    assert asked(servers) == [0, 4]
    models.place("s9", "http://nobody.invalid/v1")
    await ask(models, "s9")


async def test_a_server_that_fails_loses_its_episodes_to_the_other(servers):
    servers[0].answers = [BROKEN]
    models = endpoints(servers)
    for n in range(10):
        models.place(f"s{n}", servers[0].url)
        assert (await ask(models, f"s{n}")).text == "look"
    assert asked(servers) == [2, 10]


async def test_a_server_that_rested_is_asked_again(servers):
    servers[0].answers = [BROKEN, BROKEN, (200, {}, GOOD)]
    models = endpoints(servers, rest_s=0.05)
    models.place("s", servers[0].url)
    await ask(models, "s")
    await asyncio.sleep(0.1)
    models.place("t", servers[0].url)
    await ask(models, "t")
    assert asked(servers) == [3, 1]


async def test_a_server_that_is_busy_keeps_its_episodes(servers):
    servers[0].answers = [(429, {"retry-after": "0"}, {})] * 3 + [(200, {}, GOOD)]
    models = endpoints(servers)
    models.place("s", servers[0].url)
    await ask(models, "s")
    assert asked(servers) == [4, 0]


async def test_when_all_fail_the_error_names_the_last(servers):
    for server in servers:
        server.answers = [BROKEN]
    with pytest.raises(
        GenerateError, match=r"2 servers of 'm' after 3 tries: http://127.0.0.1:\d+/v1 .*HTTP 500"
    ) as error:
        await ask(endpoints(servers, max_attempts=3), "s")
    assert error.value.retryable


def test_the_settings_say_which_servers(servers):
    urls = tuple(server.url for server in servers)
    assert isinstance(open_model(EndpointConfig(model="m", base_urls=urls)), Endpoints)
    with pytest.raises(ValidationError, match="put all addresses into base_urls"):
        EndpointConfig(model="m", base_url=urls[0], base_urls=urls)
    with pytest.raises(ValidationError, match="names an address twice"):
        EndpointConfig(model="m", base_urls=(urls[0], urls[0]))
    with pytest.raises(ValueError, match="give one base_url"):
        OpenAIOnce(EndpointConfig(model="m", base_urls=urls))
