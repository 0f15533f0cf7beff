"""Host processes killed while engines are attached: a host that comes back must find its engines and its writer again.

The engines are real Ray actors with the real line to their hosts; only the weights are replaced by a rule.
"""

import asyncio
import hashlib

import pytest
from rollout_kills import Killer, played

from actors.config import AgentConfig, BudgetConfig, EngineConfig, RolloutConfig, SamplingConfig
from actors.episode import EpisodeSpec
from actors.fleet import Fleet
from actors.rollout import RolloutSettings, rollout
from actors.wire import Answer
from benchmarks._stand_in import stand_in_engine
from envs.config import ScriptedConfig
from envs.registry import list_tasks

ENV = ScriptedConfig(num_tasks=40)
MODEL = EngineConfig(model="pocket", replicas=2)
REPLIES = ("look", "open drawer 1", "go to shelf 2", "take apple 1", "inventory")


def rule_engine():
    replies = REPLIES

    async def answer(request):
        await asyncio.sleep(0.02)
        drawn = hashlib.sha256(repr((request.prompt_ids, request.sampling.seed)).encode()).digest()[0]
        text = replies[drawn % len(replies)]
        return Answer(text=text, token_ids=(drawn,), cached_tokens=0, finish_reason="stop")

    return stand_in_engine(answer)


@pytest.fixture(scope="module")
def fleet(ray_cluster):
    with Fleet(MODEL, engine_kind=rule_engine()) as running:
        yield running


def play(fleet, folder, progress=None):
    return rollout(
        [EpisodeSpec(task=task, role="base", arm="base", seed=0) for task in list_tasks(ENV)],
        RolloutSettings(
            env=ENV,
            agent=AgentConfig(prompt="brief"),
            model=MODEL,
            budget=BudgetConfig(max_steps=12, max_repeats=12),
            sampling=SamplingConfig(temperature=1.0, max_tokens=8),
            rollout=RolloutConfig(num_hosts=2, slots_per_host=4, flush_every_s=0.05),
        ),
        folder,
        fleet=fleet,
        progress=progress,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.ray
def test_a_killed_host_comes_back_to_its_engines(fleet, tmp_path):
    import ray

    play(fleet, tmp_path / "unbroken")
    before = {name: ray.get(engine.metrics.remote()).calls for name, engine in fleet.engines.items()}
    killer = Killer("EnvHost", times=3)
    summary = play(fleet, tmp_path / "broken", progress=killer.note)
    assert len(set(killer.killed)) == 3
    assert summary.retries > 0
    assert (summary.episodes, summary.errors) == (ENV.num_tasks, 0)
    assert played(tmp_path / "broken") == played(tmp_path / "unbroken")
    after = {name: ray.get(engine.metrics.remote()).calls for name, engine in fleet.engines.items()}
    assert all(after[name] > before[name] > 0 for name in before), "every engine answered in both runs"
