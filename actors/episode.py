"""One attempt at one task: the loop between agent, model and world. Knows neither Ray nor where the model runs."""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace

from actors.agents.base import Agent
from actors.chat import Completion, Generate, GenerateError, OutageError, PromptTooLongError, Sampling
from actors.config import BudgetConfig
from actors.hint_timing import HintSchedule, HintTiming
from actors.trajectory import EndReason, GivenHint, Trajectory, Turn, attempt_id
from envs.base import EnvError, StepResult, TextEnv
from envs.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSpec:
    """What is to be played."""

    task: Task
    role: str
    arm: str
    seed: int
    hints: tuple[GivenHint, ...] = ()
    """Best first. Part of the episode's identity, whether it gets to be shown them all or not."""
    timing: HintTiming | None = None
    """When hints are shown; None: each at its own turn, the start unless it says otherwise."""
    prefix: tuple[Turn, ...] = ()
    """Turns of an earlier episode at this task, played again in the world before the model is asked for the next. No part of the identity:
    the arm's name tells one prefix from another."""
    adapter: str | None = None
    """Folder of a LoRA adapter; None: the base model."""
    adapter_name: str | None = None
    """What records call the adapter, so that they do not change with the folder's place; None: the folder as given."""

    @property
    def recorded_adapter(self) -> str | None:
        return self.adapter_name or self.adapter


class EpisodeLost(RuntimeError):  # noqa: N818 - it names what happened to the episode; the cause is in the text
    """The machinery failed under an episode. `retryable`: whether a fresh start with the same seed may work; `outage`: see `OutageError`."""

    def __init__(self, reason: str, *, retryable: bool, outage: bool = False):
        super().__init__(reason, retryable, outage)
        self.reason, self.retryable, self.outage = reason, retryable, outage

    def __str__(self) -> str:
        return self.reason


def episode_id(spec: EpisodeSpec, agent_name: str, model_name: str) -> str:
    """The id of the trajectory that the spec will become."""
    return attempt_id(
        task=spec.task,
        arm=spec.arm,
        agent=agent_name,
        model=model_name,
        adapter=spec.recorded_adapter,
        seed=spec.seed,
        hints=spec.hints,
    )


def turn_seed(seed: int, task_key: str, turn_index: int) -> int:
    """Per task and turn, not per process: a task moved to another host must replay the same draws. 31 bits."""
    digest = hashlib.sha256(json.dumps([seed, task_key, turn_index]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


async def run_episode(
    env: TextEnv,
    agent: Agent,
    generate: Generate,
    spec: EpisodeSpec,
    budget: BudgetConfig,
    sampling: Sampling,
    model_name: str,
) -> Trajectory:
    """Play until the world, a budget or the context ends it; raise `EpisodeLost` when model or world cannot work."""
    session = episode_id(spec, agent.name, model_name)
    sampling = replace(sampling, stop=agent.stop)
    turns: list[Turn] = []
    try:
        state = start = env.reset(spec.task, seed=spec.seed)
        schedule = HintSchedule(spec.hints, spec.timing, opening=start.observation)
        for recorded in spec.prefix:
            schedule.before_reply(turns)
            turn, state = _retake_turn(env, state, recorded, len(turns))
            turns.append(turn)
        end = EndReason.DONE if state.done else None
        while end is None:
            began = time.monotonic()
            hints = schedule.before_reply(turns)
            messages = agent.render(spec.task, start.observation, turns, hints)
            drawn = replace(sampling, seed=turn_seed(spec.seed, spec.task.key, len(turns)))
            try:
                completion = await _within(budget.turn_timeout_s, generate(messages, drawn, session=session))
            except PromptTooLongError:
                end = EndReason.TOKEN_LIMIT
                break
            turn, state = _take_turn(env, agent, state, completion, began)
            turns.append(turn)
            end = _ended(state, turns, budget)
    except GenerateError as error:
        outage = isinstance(error, OutageError)
        raise EpisodeLost(error.message, retryable=error.retryable, outage=outage) from error
    except EnvError as error:
        raise EpisodeLost(f"the world failed: {error}", retryable=True) from error
    return _record(
        spec,
        agent.name,
        model_name,
        end=end,
        hints=schedule.record,
        opening=start.observation,
        turns=tuple(turns),
        success=state.success,
        score=state.score,
        parts=tuple((name, float(value)) for name, value in sorted(state.parts.items())),
    )


def lost_trajectory(
    spec: EpisodeSpec, agent_name: str, model_name: str, reason: str, retries: int
) -> Trajectory:
    """The record of an episode that was given up: an error, counted apart from a failed attempt."""
    return _record(
        spec, agent_name, model_name, hints=spec.hints, end=EndReason.ERROR, error=reason, retries=retries
    )


def _record(
    spec: EpisodeSpec,
    agent_name: str,
    model_name: str,
    *,
    hints: tuple[GivenHint, ...],
    end: EndReason,
    opening: str = "",
    turns: tuple[Turn, ...] = (),
    success: bool = False,
    score: float = 0.0,
    parts: tuple[tuple[str, float], ...] = (),
    error: str | None = None,
    retries: int = 0,
) -> Trajectory:
    """What was asked for and what came of it."""
    return Trajectory(
        task=spec.task,
        role=spec.role,
        arm=spec.arm,
        agent=agent_name,
        model=model_name,
        adapter=spec.recorded_adapter,
        seed=spec.seed,
        hints=hints,
        opening=opening,
        turns=turns,
        end=end,
        success=success,
        score=score,
        parts=parts,
        error=error,
        retries=retries,
    )


async def _within(timeout_s: float, call: Awaitable[Completion]) -> Completion:
    try:
        # Not `wait_for`, which in Python 3.11 makes a task of every call.
        async with asyncio.timeout(timeout_s):
            return await call
    except TimeoutError as error:
        message = f"the model did not answer a turn within budget.turn_timeout_s = {timeout_s:g}"
        raise GenerateError(message, retryable=True) from error


def _take_turn(
    env: TextEnv, agent: Agent, state: StepResult, completion: Completion, began: float
) -> tuple[Turn, StepResult]:
    """Read the reply and, if it says an action, let the world do it. The step is not awaited: worlds answer in microseconds."""
    parsed = agent.parse(completion.text)
    if parsed.action is None:
        after, observation = state, parsed.answer or ""
        valid, executed = bool(parsed.fields), None
    else:
        after = env.step(parsed.action)
        observation, valid, executed = after.observation, after.valid, after.executed
    turn = Turn(
        reply=parsed.reply,
        fields=parsed.fields,
        action=parsed.action,
        executed=executed,
        observation=observation,
        valid=valid,
        reward=after.score - state.score,
        prompt_tokens=completion.prompt_tokens,
        cached_tokens=completion.cached_tokens,
        completion_tokens=completion.completion_tokens,
        seconds=time.monotonic() - began,
    )
    return turn, after


def _retake_turn(env: TextEnv, state: StepResult, recorded: Turn, index: int) -> tuple[Turn, StepResult]:
    """A recorded turn in the world again, without its model; its tokens were another episode's expense."""
    after = state if recorded.action is None else env.step(recorded.action)
    if recorded.action is not None and (after.observation, after.valid) != (
        recorded.observation,
        recorded.valid,
    ):
        raise EpisodeLost(
            f"turn {index} of the prefix cannot be replayed: {recorded.action!r} was answered {recorded.observation!r} "
            f"and is now answered {after.observation!r}; play it on the data that it was recorded on",
            retryable=False,
        )
    return replace(recorded, prompt_tokens=0, cached_tokens=0, completion_tokens=0, seconds=0.0), after


def _ended(state: StepResult, turns: list[Turn], budget: BudgetConfig) -> EndReason | None:
    """The first reason that holds, the world's own before the budgets'."""
    if state.done:
        return EndReason.DONE
    if sum(turn.action is not None for turn in turns) >= budget.max_steps or len(turns) >= budget.max_turns:
        return EndReason.STEP_LIMIT
    tail = turns[-budget.max_repeats :]
    if len(tail) == budget.max_repeats and len({turn.reply for turn in tail}) == 1:
        return EndReason.REPETITION
    if budget.max_invalid is not None and _refused_in_a_row(turns) >= budget.max_invalid:
        return EndReason.REFUSALS
    if budget.max_prompt_tokens is not None and turns[-1].prompt_tokens >= budget.max_prompt_tokens:
        return EndReason.TOKEN_LIMIT
    if budget.max_seconds is not None and sum(turn.seconds for turn in turns) >= budget.max_seconds:
        return EndReason.TIME_LIMIT
    return None


def _refused_in_a_row(turns: list[Turn]) -> int:
    """At the end; a thought between two refusals changes nothing in the world and does not part them."""
    count = 0
    for turn in reversed(turns):
        if not turn.valid:
            count += 1
        elif turn.action is not None:
            break
    return count
