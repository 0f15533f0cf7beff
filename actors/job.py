"""One rollout as asked for: what its folder still owes, and what it holds when all is played. Plays nothing itself."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from actors.agents import make_agent
from actors.config import AgentConfig, BudgetConfig, ModelConfig, RolloutConfig, SamplingConfig
from actors.driver import Driver, Progress
from actors.episode import EpisodeSpec, episode_id
from actors.owed import Owed
from actors.place import Folder, is_address
from actors.player import PlayConfig
from actors.retry import Breaker, RetryPolicy
from actors.sight import RolloutSight
from actors.status_line import duration
from actors.store import finalise, written_rows
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

    def __init__(self, specs: Sequence[EpisodeSpec], settings: RolloutSettings, out_dir: Folder) -> None:
        """`specs` may make its episodes when it is asked for them: one is taken when it is played, and kept while it is."""
        self.config, self.budget, self.model = settings.rollout, settings.budget, settings.model
        self.out_dir = out_dir
        agent = make_agent(settings.agent, settings.env.name)
        self.agent_name = agent.name
        folder_name = str(out_dir).rstrip("/").rpartition("/")[2]
        finished, turns_by_kind = _finished(out_dir)
        self.owed = self._owed(specs, finished).longest_first(turns_by_kind)
        self.play = PlayConfig(
            env=settings.env,
            agent=agent,
            model=settings.model,
            budget=settings.budget,
            sampling=settings.sampling,
            slots=self.config.slots_per_host,
            flush_every_s=self.config.flush_every_s,
            run=settings.run or folder_name,
        )
        self.name = settings.name or folder_name
        here = None if is_address(out_dir) else Path(out_dir)
        self.sight = RolloutSight(here, self.name, asked=len(specs), owed=len(self.owed))
        self.retries, self._began = 0, time.monotonic()
        log.info(
            "%s: %d episodes asked for, %d owed, into %s", self.name, len(specs), len(self.owed), out_dir
        )

    def driver(self, specs: Owed, progress: Callable[[Progress], None] | None) -> Driver:
        driver = Driver(
            specs,
            agent_name=self.agent_name,
            model_name=self.model.model,
            policy=RetryPolicy(max_retries=self.config.max_retries, max_outages=self.config.max_outages),
            # A handful of episodes that all fail say the same as a long row of them.
            breaker=Breaker(min(ERRORS_IN_A_ROW, max(2, len(specs)))),
            # While all nodes are gone nothing moves, and new ones may come.
            stall_s=max(300.0, 4 * self.budget.turn_timeout_s, self.config.join_timeout_s),
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
        totals = finalise(self.out_dir)
        self.sight.end()
        summary = RolloutSummary(
            **asdict(totals),
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

    def _owed(self, specs: Sequence[EpisodeSpec], finished: set[str]) -> Owed:
        asked: set[str] = set()
        positions: list[int] = []
        for position, spec in enumerate(specs):
            id_ = episode_id(spec, self.agent_name, self.model.model)
            if id_ in asked:
                raise ValueError(
                    f"episode {spec.task.key} of arm {spec.arm!r} with seed {spec.seed} is asked for twice; give each a seed of its own"
                )
            asked.add(id_)
            if id_ not in finished:
                positions.append(position)
        return Owed(specs, positions)


def _finished(folder: Folder) -> tuple[set[str], dict[str, float]]:
    """Ids that need not be played again, and the mean number of turns by kind of task. One episode's body is in memory at a time."""
    ids: set[str] = set()
    turns: Counter[str] = Counter()
    episodes: Counter[str] = Counter()
    for row in written_rows(folder):
        kind = row["task"]["kind"]
        turns[kind] += len(row["turns"])
        episodes[kind] += 1
        # An episode that ended in an error is owed again.
        if row["end"] != EndReason.ERROR:
            ids.add(row["id"])
    return ids, {kind: turns[kind] / episodes[kind] for kind in episodes}
