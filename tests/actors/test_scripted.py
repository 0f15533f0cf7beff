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


async def play(task, *, skill, hints=(), seed=0):
    agent = make_agent(AgentConfig(prompt="brief"), "scripted")
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
