"""One rollout as asked for: what its folder still owes, and what it holds when all is played. Plays nothing itself."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.agents import make_agent
from actors.config import AgentConfig, BudgetConfig, ModelConfig, RolloutConfig, SamplingConfig
from actors.driver import Driver, Progress
from actors.episode import EpisodeSpec, episode_id
from actors.player import PlayConfig, play_order
from actors.retry import Breaker, RetryPolicy
from actors.sight import RolloutSight
from actors.status_line import duration
from actors.store import finalise, finished_ids, read_finished
from actors.trajectory import EndReason
from envs.config import EnvConfig

log = logging.getLogger(__name__)

ERRORS_IN_A_ROW = 16
"""Episodes given up one after the other that stop a rollout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSummary:
    """Of all episodes in the folder; `played`, `retries` and `seconds` are of this call."""

    episodes: int
    successes: int
    errors: int
    turns: int
    steps: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    played: int
    retries: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """How episodes are played, whichever they are."""

    env: EnvConfig
    agent: AgentConfig
    model: ModelConfig
    budget: BudgetConfig
    sampling: SamplingConfig
    rollout: RolloutConfig
    run: str = ""
    """What metrics call the run that it belongs to."""
    name: str = ""
    """What logs call the rollout; empty: its folder's name."""


class Job:
    """What is asked for, what is owed, and what is left when it is done."""

    def __init__(self, specs: Sequence[EpisodeSpec], settings: RolloutSettings, out_dir: Path) -> None:
        self.config, self.budget, self.model = settings.rollout, settings.budget, settings.model
        self.out_dir = out_dir
        agent = make_agent(settings.agent, settings.env.name)
        self.agent_name = agent.name
        ids = [episode_id(spec, self.agent_name, self.model.model) for spec in specs]
        if len(set(ids)) != len(ids):
            twice = next(spec for spec, id_ in zip(specs, ids, strict=True) if ids.count(id_) > 1)
            raise ValueError(
                f"episode {twice.task.key} of arm {twice.arm!r} with seed {twice.seed} is asked for twice; give each a seed of its own"
            )
        finished = finished_ids(out_dir)
        owed = [spec for spec, id_ in zip(specs, ids, strict=True) if id_ not in finished]
        self.owed = play_order(owed, _turns_by_kind(out_dir) if finished else {})
        self.play = PlayConfig(
            env=settings.env,
            agent=agent,
            model=settings.model,
            budget=settings.budget,
            sampling=settings.sampling,
            slots=self.config.slots_per_host,
            flush_every_s=self.config.flush_every_s,
            run=settings.run or out_dir.name,
        )
        self.name = settings.name or out_dir.name
        self.sight = RolloutSight(out_dir, self.name, asked=len(specs), owed=len(self.owed))
        self.retries, self._began = 0, time.monotonic()
        log.info(
            "%s: %d episodes asked for, %d owed, into %s", self.name, len(specs), len(self.owed), out_dir
        )

    def driver(self, specs: Sequence[EpisodeSpec], progress: Callable[[Progress], None] | None) -> Driver:
        driver = Driver(
            specs,
            agent_name=self.agent_name,
            model_name=self.model.model,
            policy=RetryPolicy(max_retries=self.config.max_retries),
            # A handful of episodes that all fail say the same as a long row of them.
            breaker=Breaker(min(ERRORS_IN_A_ROW, max(2, len(specs)))),
            stall_s=max(300.0, 4 * self.budget.turn_timeout_s),
            progress=progress,
            meters=self.sight.meters,
        )
        self.sight.follow(driver.state)
        return driver

    @property
    def in_flight(self) -> int:
        # More than the slots: the next episode is there when one ends, and those waiting for the disk hold nobody up.
        return self.config.slots_per_host + max(4, self.config.slots_per_host // 2)

    def finish(self) -> RolloutSummary:
        self.out_dir.mkdir(parents=True, exist_ok=True)
        finalise(self.out_dir)
        self.sight.end()
        trajectories = read_finished(self.out_dir)
        summary = RolloutSummary(
            episodes=len(trajectories),
            successes=sum(t.success for t in trajectories),
            errors=sum(t.end == EndReason.ERROR for t in trajectories),
            turns=sum(len(t.turns) for t in trajectories),
            steps=sum(t.num_steps for t in trajectories),
            prompt_tokens=sum(t.prompt_tokens for t in trajectories),
            cached_tokens=sum(t.cached_tokens for t in trajectories),
            completion_tokens=sum(t.completion_tokens for t in trajectories),
            played=len(self.owed),
            retries=self.retries,
            seconds=time.monotonic() - self._began,
        )
        log.info(
            "%s: %d episodes in %s, %d of them played now in %s; %d succeeded, %d errors, %d turns, %d + %d tokens read + written",
            *(self.name, summary.episodes, self.out_dir, summary.played, duration(summary.seconds)),
            *(summary.successes, summary.errors, summary.turns),
            *(summary.prompt_tokens, summary.completion_tokens),
        )
        return summary


def _turns_by_kind(folder: Path) -> dict[str, float]:
    turns: dict[str, list[int]] = {}
    for trajectory in read_finished(folder):
        turns.setdefault(trajectory.task.kind, []).append(len(trajectory.turns))
    return {kind: sum(counts) / len(counts) for kind, counts in turns.items()}
