"""Host processes killed while engines are attached: a host that comes back must find its engines and its writer again.

The engines are real Ray actors with the real line to their hosts; only the weights are replaced by a rule.
"""

import hashlib
import time

import pytest
from rollout_kills import Killer, played

from actors.config import AgentConfig, BudgetConfig, EngineConfig, RolloutConfig, SamplingConfig
from actors.engine import Engine, EngineInfo
from actors.episode import EpisodeSpec
from actors.fleet import Fleet
from actors.mailbox import Mailbox
from actors.models import resolve_model
from actors.rollout import RolloutSettings, rollout
from actors.tokenizer import load_tokenizer
from actors.wire import Answer
from envs.config import ScriptedConfig
from envs.registry import list_tasks

ENV = ScriptedConfig(num_tasks=40)
MODEL = EngineConfig(model="pocket", replicas=2)
REPLIES = ("look", "open drawer 1", "go to shelf 2", "take apple 1", "inventory")


def rule_engine():
    """Defined here, so that Ray's workers get it by value: test modules cannot be imported there."""

    class RuleEngine(Engine):
        def __init__(self, config):
            self._config = config
            self._tokenizer = load_tokenizer(resolve_model(config.model))
            self._mailbox = Mailbox(self._answer)
            self._calls = self._prompt_tokens = self._cached_tokens = self._completion_tokens = 0
            self._running, self._loaded, self._last_end = 0, None, time.monotonic()
            self._running_prompt_tokens = 0

        async def info(self):
            return EngineInfo(
                model=self._config.model, device="cpu", dtype="float32", threads=1, adapters="lora",
                max_model_len=4096, load_s=0.0, pid=0,
            )  # fmt: skip

        def _drawing_tokens(self):
            return 0

        async def _answer(self, request):
            import asyncio

            await asyncio.sleep(0.02)
            self._calls += 1
            drawn = hashlib.sha256(repr((request.prompt_ids, request.sampling.seed)).encode()).digest()[0]
            return Answer(
                text=REPLIES[drawn % len(REPLIES)], token_ids=(drawn,), cached_tokens=0, finish_reason="stop"
            )

    return RuleEngine


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
