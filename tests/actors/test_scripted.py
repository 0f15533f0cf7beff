from dataclasses import replace

import pytest

from actors.agents import make_agent
from actors.chat import Sampling
from actors.config import AgentConfig, BudgetConfig, ScriptedModelConfig
from actors.episode import EpisodeSpec, run_episode
from actors.scripted import ScriptedModel
from actors.trajectory import GivenHint
from envs.config import ScriptedConfig
from envs.registry import list_tasks, open_env

ENV = ScriptedConfig(num_tasks=30)
HINTS = tuple(
    GivenHint(id=str(n), text=text)
    for n, text in enumerate(
        ["Open the chest first.", "Wash the {thing} before bringing it.", "Bring both of them."]
    )
)
BUDGET = BudgetConfig(max_steps=24)


async def play(task, *, skill, hints=(), seed=0, **agent):
    agent = make_agent(AgentConfig(**{"prompt": "brief", **agent}), "scripted")
    spec = EpisodeSpec(task=task, role="base", arm="base", seed=seed, hints=hints)
    model = ScriptedModel(ScriptedModelConfig(skill=skill))
    return await run_episode(open_env(ENV), agent, model, spec, BUDGET, Sampling(), "scripted")


@pytest.mark.parametrize("number", range(9))
async def test_a_skilled_model_wins_every_kind(number):
    trajectory = await play(list_tasks(ENV)[number], skill=1.0)
    assert trajectory.success, [(t.reply, t.observation) for t in trajectory.turns]


async def test_hints_win_where_no_skill_fails():
    tasks = list_tasks(ENV)
    without = [await play(task, skill=0.0) for task in tasks]
    with_hints = [await play(task, skill=0.0, hints=HINTS) for task in tasks]
    assert sum(t.success for t in without) < len(tasks) / 2
    assert all(t.success for t in with_hints)


@pytest.mark.parametrize("prompt", ["brief", "full"])
@pytest.mark.parametrize("layout", ["chat", "transcript"])
@pytest.mark.parametrize("name", ["react", "act", "stateact"])
async def test_every_agent_plays_the_same_episode(name, layout, prompt):
    for task in list_tasks(ENV)[:6]:
        plain = await play(task, skill=0.5, seed=1)
        other = await play(task, skill=0.5, seed=1, name=name, layout=layout, prompt=prompt)
        assert [t.action for t in other.turns] == [t.action for t in plain.turns]
        assert other.success == plain.success


@pytest.mark.parametrize("layout", ["chat", "transcript"])
async def test_a_hint_that_comes_late_is_heard(layout):
    task = next(task for task in list_tasks(ENV) if task.kind == "wash")
    late = tuple(replace(hint, turn=1) for hint in HINTS)
    assert (await play(task, skill=0.0, hints=late, layout=layout)).success
    never = tuple(replace(hint, turn=None) for hint in HINTS)
    assert not (await play(task, skill=0.0, hints=never, layout=layout)).success


async def test_equal_seeds_play_equal_episodes_and_others_differ():
    task = next(task for task in list_tasks(ENV) if task.kind == "pair")
    same = [await play(task, skill=0.5, seed=3) for _ in range(2)]
    replies = [[turn.reply for turn in t.turns] for t in same]
    assert replies[0] == replies[1]
    others = [[turn.reply for turn in (await play(task, skill=0.5, seed=s)).turns] for s in range(6)]
    assert any(other != others[0] for other in others)


async def test_a_hint_for_another_trap_does_not_help():
    wash = [task for task in list_tasks(ENV) if task.kind == "wash"]
    unfit = (replace(HINTS[2]),)
    assert not any([(await play(task, skill=0.0, hints=unfit)).success for task in wash])
