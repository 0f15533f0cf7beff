"""What a host measures of its episodes, by wrapping the model and the world. Knows neither Ray nor queues."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from actors.chat import Completion, Generate, Message, Sampling
from actors.episode import EpisodeSpec
from actors.meters import Meters, NoMeters
from actors.metrics import NO_ADAPTER, STEP_SECONDS, TOKENS, TURN_SECONDS
from envs.base import StepResult, TextEnv
from envs.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMeters:
    """One host's; `meters` knows the tags `run` and `host`."""

    meters: Meters

    def model(self, generate: Generate, spec: EpisodeSpec) -> Generate:
        if isinstance(self.meters, NoMeters):
            return generate
        adapter = spec.recorded_adapter or NO_ADAPTER
        return _MeteredModel(generate=generate, meters=self.meters, arm=spec.arm, adapter=adapter)

    def env(self, env: TextEnv) -> TextEnv:
        return env if isinstance(self.meters, NoMeters) else _MeteredEnv(env=env, meters=self.meters)


@dataclass(frozen=True, slots=True, kw_only=True)
class _MeteredModel:
    generate: Generate
    meters: Meters
    arm: str
    adapter: str

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        began = time.monotonic()
        completion = await self.generate(messages, sampling, session=session)
        meters, arm = self.meters, self.arm
        meters.observe(TURN_SECONDS, time.monotonic() - began, arm=arm)
        for kind, amount in (
            ("prompt", completion.prompt_tokens),
            ("cached", completion.cached_tokens),
            ("completion", completion.completion_tokens),
        ):
            meters.count(TOKENS, amount, arm=arm, adapter=self.adapter, kind=kind)
        return completion


@dataclass(frozen=True, slots=True, kw_only=True)
class _MeteredEnv:
    env: TextEnv
    meters: Meters

    def reset(self, task: Task, *, seed: int) -> StepResult:
        began = time.perf_counter()
        result = self.env.reset(task, seed=seed)
        self.meters.observe(STEP_SECONDS, time.perf_counter() - began)
        return result

    def step(self, action: str) -> StepResult:
        began = time.perf_counter()
        result = self.env.step(action)
        self.meters.observe(STEP_SECONDS, time.perf_counter() - began)
        return result

    def close(self) -> None:
        self.env.close()
