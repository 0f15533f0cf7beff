"""How a run stands, from its files alone: while it runs, from another machine, and after a crash."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from actors.config import EndpointConfig
from actors.status_line import duration
from distill.config import StudyConfig
from distill.run_folder import RunFolder, open_run
from distill.sight.stage_state import StageState, State, read_stage
from distill.stages import Stage
from distill.study_costs import COSTLY, gpus_of, stage_cost

_QUIET_S = 300.0
_QUIET_GAPS = 10.0
"""Usual gaps between two ends after which a rollout counts as quiet, where these are longer than `_QUIET_S`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """In USD, at the study's own prices; of stages that other studies share, the whole."""

    known: float = 0.0
    unpriced: tuple[str, ...] = ()
    """Begun or finished stages that nobody set a price for."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    name: str
    path: Path
    stages: tuple[StageState, ...]
    now: float
    disk_bytes: int
    money: Money

    @property
    def by_state(self) -> Mapping[State, int]:
        return Counter(stage.state for stage in self.stages)

    @property
    def is_done(self) -> bool:
        return all(stage.state is State.DONE for stage in self.stages)

    @cached_property
    def distinct(self) -> tuple[StageState, ...]:
        """Stages under two names whose work is the same once."""
        return tuple({stage.folder: stage for stage in self.stages}.values())

    @property
    def running(self) -> tuple[StageState, ...]:
        return tuple(stage for stage in self.distinct if stage.state is State.RUNNING)

    @property
    def episodes(self) -> tuple[int, int]:
        """(done, asked for) over all rollouts; estimates for those that have not begun."""
        counts = [stage.episodes for stage in self.distinct if stage.episodes]
        return sum(done for done, _ in counts), sum(asked for _, asked in counts)

    @property
    def episodes_per_hour(self) -> float | None:
        rates = [s.standing.recent.episodes_per_hour for s in self.running if s.standing]
        return sum(rate for rate in rates if rate is not None) if any(r is not None for r in rates) else None

    @property
    def remaining_s(self) -> float | None:
        """Of the rollouts at the recent rate; None where none runs or none has ended lately."""
        done, asked = self.episodes
        rate = self.episodes_per_hour
        return 3600 * (asked - done) / rate if rate else None

    @property
    def not_in_remaining(self) -> Mapping[str, int]:
        """Unfinished stages, by kind, whose time nobody knows."""
        return Counter(s.kind for s in self.distinct if s.kind != "rollout" and s.state is not State.DONE)

    @property
    def last_progress(self) -> float | None:
        """When an episode last ended, or a file of an unfinished stage was last written to."""
        times = [_last_progress(stage) for stage in self.distinct if stage.state is not State.DONE]
        return max((t for t in times if t is not None), default=None)

    @property
    def losses(self) -> Mapping[str, int]:
        """Lost attempts of rollouts that have not ended, by their reason."""
        total: Counter[str] = Counter()
        for stage in self.distinct:
            if stage.standing:
                total.update(stage.standing.losses)
        return total

    @property
    def retries(self) -> int:
        return sum(stage.standing.retries for stage in self.distinct if stage.standing)

    @property
    def errors(self) -> int:
        """Episodes recorded as errors, finished rollouts included."""
        finished = sum(s.manifest.get("counts", {}).get("errors", 0) for s in self.distinct if s.manifest)
        return finished + sum(s.standing.errors for s in self.distinct if s.standing)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        return tuple(warning for stage in self.distinct for warning in _warnings(stage, self.now))


def read_status(run_dir: Path, now: float | None = None) -> RunStatus:
    """Raises `RunError` where `run_dir` is no run."""
    now, run = time.time() if now is None else now, open_run(run_dir)
    stages = tuple(
        read_stage(name, folder, run.estimates.get(name, {}), now) for name, folder in run.stages.items()
    )
    return RunStatus(
        name=run.config.name,
        path=run_dir,
        stages=stages,
        now=now,
        disk_bytes=sum(map(_size, {run_dir, *run.stages.values()})),
        money=_money(run, stages, now),
    )


def _last_progress(stage: StageState) -> float | None:
    return (stage.standing and stage.standing.last_ended) or stage.last_change


def _warnings(stage: StageState, now: float) -> Iterator[str]:
    standing, name = stage.standing, stage.name
    if stage.state is State.CRASHED:
        seen = f", last seen {duration(now - standing.updated)} ago" if standing else ""
        yield f"{name}: {stage.writer} has died{seen}; `offbook run` goes on where it stopped"
    if stage.state is State.STOPPED and stage.reason:
        yield f"{name} stopped: {stage.reason}"
    if stage.state is not State.RUNNING or standing is None:
        return
    beat_s = now - standing.updated
    if beat_s > 6 * stage.beat_every_s:
        yield f"{name}: {stage.writer} lives, but has told nothing for {duration(beat_s)}"
    quiet_s = now - (standing.last_ended or standing.began)
    gap_s = _usual_gap_s(standing.ended, standing.began, standing.last_ended)
    if standing.owed and quiet_s > max(_QUIET_S, _QUIET_GAPS * gap_s):
        yield f"{name}: no episode has ended for {duration(quiet_s)}"


def _usual_gap_s(ended: int, began: float, last_ended: float | None) -> float:
    return (last_ended - began) / ended if ended and last_ended else 0.0


def _money(run: RunFolder, stages: Sequence[StageState], now: float) -> Money:
    known, unpriced = 0.0, []
    for stage in {stage.folder: stage for stage in stages}.values():
        if stage.kind not in COSTLY or stage.state is State.OWED:
            continue
        usd = _usd(stage, run.config, now)
        known += usd or 0.0
        if usd is None:
            unpriced.append(stage.name)
    return Money(known=known, unpriced=tuple(unpriced))


def _usd(stage: StageState, config: StudyConfig, now: float) -> float | None:
    """What it cost, or has cost so far; None: no price is known."""
    about = Stage(name=stage.name, kind=stage.kind, version=0, config=stage.manifest.get("config", {}))
    if stage.state is State.DONE:
        return stage_cost(about, config, stage.folder, stage.manifest).usd
    if stage.kind == "hints":
        return _usd_of_replies(stage.folder)
    standing, model = stage.standing, config.model
    price = config.prices.token_price(model.model) if isinstance(model, EndpointConfig) else None
    if price is not None and stage.kind == "rollout":
        used = (
            (standing.prompt_tokens, standing.cached_tokens, standing.completion_tokens)
            if standing
            else (0, 0, 0)
        )
        return price.usd(prompt=used[0], cached=used[1], completion=used[2])
    until = standing.updated if standing and stage.state is not State.RUNNING else now
    if config.prices.usd_per_gpu_hour is None or not gpus_of(config, about) or stage.since is None:
        return None
    return config.prices.usd_per_gpu_hour * gpus_of(config, about) * max(0.0, until - stage.since) / 3600


def _usd_of_replies(folder: Path) -> float | None:
    """Of the replies that hint writing has kept; None where it asks no model."""
    from distill.hints.call_cache import whole_lines
    from distill.hints.writer import CALLS

    if not (folder / CALLS).exists():
        return None
    return float(sum(call.get("usd", 0.0) for call in whole_lines(folder / CALLS)))


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            pass  # A draft that has taken its place meanwhile.
    return total
