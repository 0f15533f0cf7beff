import asyncio
import json
from dataclasses import replace

import pytest

from actors.agents import make_agent
from actors.chat import Completion, GenerateError, PromptTooLongError, Sampling
from actors.config import AgentConfig, BudgetConfig
from actors.episode import EpisodeLost, EpisodeSpec, episode_id, run_episode, turn_seed
from actors.hint_timing import HintTiming
from actors.trajectory import EndReason, GivenHint, from_row, to_row
from envs.config import ScriptedConfig
from envs.registry import list_tasks, open_env
from envs.scripted import solution

ENV = ScriptedConfig(num_tasks=6)
AGENT = make_agent(AgentConfig(prompt="brief"), "scripted")


class Replies:
    """A model that says the given lines, the last one for ever, or raises what is given instead of a line."""

    def __init__(self, *lines, prompt_tokens=10):
        self.lines, self.calls, self.prompt_tokens = lines, [], prompt_tokens

    async def __call__(self, messages, sampling, *, session):
        line = self.lines[min(len(self.calls), len(self.lines) - 1)]
        self.calls.append((messages, sampling, session))
        if isinstance(line, Exception):
            raise line
        return Completion(
            text=line,
            prompt_tokens=self.prompt_tokens + len(self.calls),
            cached_tokens=1,
            completion_tokens=2,
            finish_reason="stop",
        )


def spec_of(number=0, seed=0):
    return EpisodeSpec(task=list_tasks(ENV)[number], role="base", arm="base", seed=seed)


async def play(model, *, budget=None, spec=None, env=None):
    return await run_episode(
        env or open_env(ENV), AGENT, model, spec or spec_of(), budget or BudgetConfig(), Sampling(), "m"
    )


async def test_a_won_episode_records_every_turn():
    spec = spec_of()
    trajectory = await play(Replies("think: I look for it.", *solution(spec.task)), spec=spec)
    assert (trajectory.end, trajectory.success, trajectory.score) == (EndReason.DONE, True, 1.0)
    assert trajectory.turns[0].action is None
    assert trajectory.turns[0].observation == "OK."
    assert trajectory.num_steps == len(solution(spec.task)) == len(trajectory.turns) - 1
    assert sum(turn.reward for turn in trajectory.turns) == 1.0
    assert trajectory.turns[1].prompt_tokens == 12
    assert trajectory.id == episode_id(spec, AGENT.name, "m")
    assert from_row(json.loads(json.dumps(to_row(trajectory)))) == trajectory


async def test_each_prompt_extends_the_one_before_and_ends_with_the_observation():
    model = Replies("look", "go to attic")
    trajectory = await play(model, budget=BudgetConfig(max_steps=3))
    prompts = [messages for messages, _, _ in model.calls]
    assert prompts[1][: len(prompts[0])] == prompts[0]
    assert prompts[1][-1].content == trajectory.turns[0].observation
    assert prompts[0][1].content == trajectory.opening


async def test_seeds_differ_by_turn_and_replay_by_task():
    first, second = Replies("look", "go to attic"), Replies("look", "go to attic")
    await play(first, budget=BudgetConfig(max_steps=3))
    await play(second, budget=BudgetConfig(max_steps=3))
    seeds = [[sampling.seed for _, sampling, _ in model.calls] for model in (first, second)]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3
    assert turn_seed(0, "scripted/a", 0) != turn_seed(0, "scripted/b", 0) != turn_seed(1, "scripted/b", 0)
    assert {sampling.stop for _, sampling, _ in first.calls} == {("\n",)}
    assert len({session for _, _, session in first.calls}) == 1


@pytest.mark.parametrize(
    "lines, budget, end, num_turns",
    [
        (("look", "go to attic", "go to hall"), BudgetConfig(max_steps=2), EndReason.STEP_LIMIT, 2),
        (
            ("think: a", "think: b", "think: c"),
            BudgetConfig(max_turns=3, max_steps=9),
            EndReason.STEP_LIMIT,
            3,
        ),
        (("look",), BudgetConfig(max_repeats=4), EndReason.REPETITION, 4),
        (("look", "go to attic"), BudgetConfig(max_prompt_tokens=12), EndReason.TOKEN_LIMIT, 2),
        (("look", PromptTooLongError("2000 tokens")), BudgetConfig(), EndReason.TOKEN_LIMIT, 1),
        (("fly", "look", "fly", "think: hm", "", "jump"), BudgetConfig(max_invalid=3), EndReason.REFUSALS, 6),
        (("fly", "jump"), BudgetConfig(max_invalid=1), EndReason.REFUSALS, 1),
        (("fly",), BudgetConfig(max_repeats=3, max_invalid=3), EndReason.REPETITION, 3),
        (("fly", "jump", "run", "hop"), BudgetConfig(max_turns=4), EndReason.STEP_LIMIT, 4),
    ],
)
async def test_budgets_end_an_episode(lines, budget, end, num_turns):
    trajectory = await play(Replies(*lines), budget=budget)
    assert (trajectory.end, len(trajectory.turns)) == (end, num_turns)
    assert not trajectory.success


async def test_an_unreadable_reply_is_an_invalid_turn_that_does_not_reach_the_world():
    trajectory = await play(Replies("", "fly", "look"), budget=BudgetConfig(max_turns=3))
    assert [turn.valid for turn in trajectory.turns] == [False, False, True]
    assert trajectory.num_steps == 2
    assert trajectory.num_invalid == 2
    assert "empty" in trajectory.turns[0].observation


@pytest.mark.parametrize("retryable", [True, False])
async def test_a_failing_model_loses_the_episode(retryable):
    with pytest.raises(EpisodeLost, match="engine 3 is dead") as lost:
        await play(Replies("look", GenerateError("engine 3 is dead", retryable=retryable)))
    assert lost.value.retryable is retryable


async def test_a_failing_world_loses_the_episode():
    config = ScriptedConfig(num_tasks=6, crash_on=(spec_of().task.id,))
    with pytest.raises(EpisodeLost, match="crash_on"):
        await play(Replies("look"), env=open_env(config))


async def test_a_model_that_never_answers_is_a_lost_episode():
    async def silent(messages, sampling, *, session):
        await asyncio.sleep(60)

    with pytest.raises(EpisodeLost, match=r"turn_timeout_s = 0\.05") as lost:
        await play(silent, budget=BudgetConfig(turn_timeout_s=0.05))
    assert lost.value.retryable


async def test_a_prefix_is_replayed_in_the_world_and_the_model_asked_for_the_next_turn():
    actions = solution(spec_of().task)
    whole = await play(Replies("think: hm", *actions))
    spec = replace(spec_of(), prefix=whole.turns[:2])
    model = Replies(*actions[1:])
    resumed = await play(model, spec=spec)
    assert resumed.success and [t.action for t in resumed.turns] == [t.action for t in whole.turns]
    # Asked from turn 2 on, with the prompt and the draw of that turn; what was replayed cost nothing.
    assert len(model.calls) == len(whole.turns) - 2
    assert [m.content for m in model.calls[0][0][-2:]] == [actions[0], whole.turns[1].observation]
    assert model.calls[0][1].seed == turn_seed(0, spec.task.key, 2)
    assert [t.prompt_tokens for t in resumed.turns[:2]] == [0, 0]


async def test_a_prefix_takes_part_in_when_hints_are_due():
    hint = GivenHint(id="h", text="open the chest")
    early = await play(Replies("look", "go to attic"), budget=BudgetConfig(max_steps=6))
    timing = HintTiming(when="at", turns=2, k=1)
    spec = replace(spec_of(), hints=(hint,), timing=timing, prefix=early.turns[:4])
    assert (await play(Replies("go to attic", "look"), budget=BudgetConfig(max_steps=6), spec=spec)).hints[
        0
    ].turn == 2


async def test_a_prefix_that_the_world_answers_otherwise_loses_the_episode_for_good():
    whole = await play(Replies("look", "go to attic"), budget=BudgetConfig(max_steps=3))
    wrong = replace(whole.turns[1], observation="A dragon.")
    with pytest.raises(EpisodeLost, match="turn 1 of the prefix cannot be replayed") as lost:
        await play(Replies("look"), spec=replace(spec_of(), prefix=(whole.turns[0], wrong)))
    assert not lost.value.retryable


async def test_an_episode_whose_time_is_up_ends_and_is_no_error():
    class Slow(Replies):
        async def __call__(self, *asked, **named):
            await asyncio.sleep(0.02)
            return await super().__call__(*asked, **named)

    trajectory = await play(
        Slow("look", "go to attic"), budget=BudgetConfig(max_seconds=0.05, max_repeats=99)
    )
    assert (trajectory.end, trajectory.error) == (EndReason.TIME_LIMIT, None)
    assert sum(turn.seconds for turn in trajectory.turns) >= 0.05
    assert sum(turn.seconds for turn in trajectory.turns[:-1]) < 0.05
