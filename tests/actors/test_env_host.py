"""An env host and its line to an engine actor, with the actor's handle replaced: what Ray says becomes what episodes understand."""

import asyncio

import pytest

from actors.agents import make_agent
from actors.config import AgentConfig, BudgetConfig, EngineConfig, SamplingConfig
from actors.episode import EpisodeSpec
from actors.mailbox import Mailbox
from actors.player import Ended, Lost, PlayConfig
from actors.pulse import Membership
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
        self.open, self.asked = asyncio.Event(), asyncio.Event()
        self.open.set()

    async def look(self, request):
        self.prompts.append(request.prompt_ids)
        if len(self.prompts) == ENV.num_tasks:
            self.asked.set()
        await self.open.wait()
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

    def made(engine, writer, others=()):
        actors = {"an-engine": engine, "a-writer": writer} | dict(others)

        def find(name):
            if name not in actors:
                raise ValueError(name)  # as Ray does
            return actors[name]

        membership = Membership(version=1, engines={"engine 0": "an-engine", "engine 1": "gone"})
        return env_host.EnvHost(PLAY, membership, "a-writer", find=find)

    return made


def specs():
    return [EpisodeSpec(task=task, role="base", arm="base", seed=0) for task in list_tasks(ENV)]


async def reports_of(host, engine="engine 0"):
    return await asyncio.wait_for(asyncio.gather(*(host.play(spec, 0, engine) for spec in specs())), 30)


async def play_all(host):
    return [report.outcome for report in await reports_of(host)]


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
    assert "engine 0 died during a call" in outcome.reason and outcome.outage


def test_any_other_word_of_ray_loses_the_episode_and_not_the_engine(host_of):
    from ray.exceptions import ObjectLostError

    error = ObjectLostError("00" * 28, None, "")
    [outcome, *_] = asyncio.run(play_all(host_of(Engine(error), Writer())))
    assert isinstance(outcome, Lost)
    assert outcome.retryable
    assert "the engine failed: ObjectLostError" in outcome.reason


def test_a_host_tells_what_it_did_and_what_its_episodes_hold(host_of):
    async def play():
        engine = Engine()
        host = host_of(engine, Writer())
        before = await host.pulse(None)
        engine.open.clear()
        playing = asyncio.create_task(reports_of(host))
        await asyncio.wait_for(engine.asked.wait(), 30)
        during = await host.pulse(None)
        engine.open.set()
        reports = await playing
        return before, during, reports, await host.pulse(None), engine

    before, during, reports, after, engine = asyncio.run(play())
    assert (before.steps, before.playing, before.membership) == (0, 0, 1)
    assert (during.turns, during.playing) == (0, 3)
    assert during.held_tokens == {"engine 0": sum(len(ids) for ids in engine.prompts[:3])}
    assert (after.turns, after.ended, after.playing) == (12, 3, 0)
    assert after.held_tokens == {"engine 0": 0}
    longest = max(len(ids) for ids in engine.prompts)
    assert max(report.tokens for report in reports) == longest + len("look\nand more")


def test_a_host_learns_of_engines_that_joined_and_left(host_of):
    async def play():
        first, second = Engine(), Engine()
        host = host_of(first, Writer(), {"another": second})
        await reports_of(host)
        await host.pulse(Membership(version=2, engines={"engine 0": "an-engine", "engine 2": "another"}))
        await reports_of(host, "engine 2")
        asked = len(first.prompts), len(second.prompts)
        news = Membership(version=3, engines={"engine 0": "an-engine"})
        assert (await host.pulse(news)).membership == 3
        await reports_of(host, "engine 2")
        return asked, len(first.prompts)

    asked, then = asyncio.run(play())
    assert asked == (12, 12)
    assert then == 24, "a choice that is no longer known is not heeded"
