"""An env host and its line to an engine actor, with the actor's handle replaced: what Ray says becomes what episodes understand."""

import asyncio

import pytest

from actors.agents import make_agent
from actors.config import AgentConfig, BudgetConfig, EngineConfig, SamplingConfig
from actors.episode import EpisodeSpec
from actors.mailbox import Mailbox
from actors.player import Ended, Lost, PlayConfig
from actors.trajectory import EndReason
from actors.wire import Answer
from envs.config import ScriptedConfig
from envs.registry import list_tasks

ENV = ScriptedConfig(num_tasks=3)
PLAY = PlayConfig(
    env=ENV,
    agent=make_agent(AgentConfig(prompt="brief"), "scripted"),
    model=EngineConfig(model="m"),
    budget=BudgetConfig(max_turns=4),
    sampling=SamplingConfig(),
    slots=3,
    flush_every_s=0.01,
)


class Letters:
    """A tokenizer whose tokens are letters."""

    is_fast = False

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [ord(letter) for letter in text]}

    def apply_chat_template(self, chat, **_):
        return "".join(message["content"] for message in chat)

    def decode(self, ids, skip_special_tokens=False):
        return "".join(map(chr, ids))


class Actor:
    """Answers as a handle does: `handle.method.remote(...)` is awaited."""

    def __getattr__(self, name):
        method = getattr(type(self), f"do_{name}")

        class Method:
            @staticmethod
            def remote(*arguments):
                return method(self, *arguments)

        return Method


class Engine(Actor):
    def __init__(self, error=None):
        self.mailbox, self.error, self.prompts = Mailbox(self.look, poll_s=0.1), error, []

    async def look(self, request):
        self.prompts.append(request.prompt_ids)
        ids = tuple(ord(letter) for letter in "look\nand more")
        return Answer(text="", token_ids=ids, cached_tokens=0, finish_reason="stop")

    async def do_tokenizer(self):
        return Letters()

    async def do_post(self, line, requests, dropped):
        if self.error:
            raise self.error
        return self.mailbox.post(line, requests, dropped)

    async def do_collect(self, line):
        return await self.mailbox.collect(line)

    async def do_metrics(self):
        return None


class Writer(Actor):
    def __init__(self):
        self.lines = []

    async def do_append(self, lines):
        self.lines += lines


@pytest.fixture
def host_of(monkeypatch):
    env_host = pytest.importorskip("actors.env_host")
    # It is for processes of a host's own; in this one PyTorch may be wanted later.
    monkeypatch.setattr(env_host, "import_tokenizers", lambda: None)

    def made(engine, writer):
        actors = {"an-engine": engine, "a-writer": writer}
        return env_host.EnvHost(PLAY, {"engine 0": "an-engine"}, "a-writer", find=actors.__getitem__)

    return made


def specs():
    return [EpisodeSpec(task=task, role="base", arm="base", seed=0) for task in list_tasks(ENV)]


async def play_all(host):
    return await asyncio.wait_for(asyncio.gather(*(host.play(spec, 0) for spec in specs())), 30)


def test_episodes_are_played_through_the_engine(host_of):
    engine, writer = Engine(), Writer()
    outcomes = asyncio.run(play_all(host_of(engine, writer)))
    assert all(isinstance(outcome, Ended) for outcome in outcomes)
    assert {outcome.end for outcome in outcomes} == {EndReason.STEP_LIMIT}
    assert len(engine.prompts) == sum(outcome.num_turns for outcome in outcomes) == 3 * 4
    assert len(writer.lines) == 3
    assert all('"reply": "look"' in line for line in writer.lines)


def test_a_dead_actor_loses_the_episode_and_may_be_tried_again(host_of):
    from ray.exceptions import RayActorError

    [outcome, *_] = asyncio.run(play_all(host_of(Engine(RayActorError()), Writer())))
    assert isinstance(outcome, Lost)
    assert outcome.retryable
    assert "engine 0 died during a call" in outcome.reason


def test_any_other_word_of_ray_loses_the_episode_and_not_the_engine(host_of):
    from ray.exceptions import ObjectLostError

    error = ObjectLostError("00" * 28, None, "")
    [outcome, *_] = asyncio.run(play_all(host_of(Engine(error), Writer())))
    assert isinstance(outcome, Lost)
    assert outcome.retryable
    assert "the engine failed: ObjectLostError" in outcome.reason
