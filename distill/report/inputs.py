"""What a report is made from, and how the few episodes that it shows are chosen among all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from actors.trajectory import Trajectory
from distill.dataset_card import Sample
from distill.episode_columns import EpisodeColumns, EpisodeSource, load_trajectories, read_episodes
from distill.hints.hint import Hint
from envs.panel import Panel

SOURCES_SHOWN_PER_HINT = 2
EPISODES_SHOWN = 80
EXAMPLE_ARMS = ("base", "teacher", "distill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One task and seed as several arms played it."""

    episodes: Mapping[str, Trajectory]  # by arm
    note: str
    """Why this one, and how many like it there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """Everything but `results` may be left empty; the report then says that the part is absent."""

    results: Mapping[str, Any]
    """What `build_results` returned."""
    summary: str = ""
    """What was done, in two sentences; empty: written from the results."""
    honesty: str = ""
    """What the study is no evidence for."""
    hints: Sequence[Hint] = ()
    failures: Mapping[str, Trajectory] = field(default_factory=dict)
    """Failed episodes by trajectory id that hints name as their sources; those not here are named but not shown."""
    example: Example | None = None
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    """By arm, or by arm and run such as "distill s1", rows with "step" and "loss" of its training."""
    browser: str = ""
    """Where the page of all episodes lies, as seen from the report; "" where there is none."""
    samples: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    """By arm, training rows to look at token by token."""
    attributions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By hinted arm, what `attribution.json` says of it."""


def collect_inputs(
    results: Mapping[str, Any],
    panel: Panel,
    arms: Mapping[str, EpisodeSource],
    *,
    hints: Sequence[Hint] = (),
    failures: EpisodeSource | None = None,
    curves: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
    samples: Mapping[str, Sequence[Sample]] | None = None,
    attributions: Mapping[str, Mapping[str, Any]] | None = None,
    summary: str = "",
    honesty: str = "",
    browser: str = "",
) -> ReportInputs:
    """Choose the example among `arms` and read the failed episodes (`failures`: where stage A wrote them) that the page shows."""
    shown = load_trajectories(failures, _sources_to_show(hints)) if failures is not None else []
    return ReportInputs(
        results=results,
        summary=summary,
        honesty=honesty,
        hints=tuple(hints),
        failures={trajectory.id: trajectory for trajectory in shown},
        example=choose_example(panel, arms),
        curves=dict(curves or {}),
        browser=browser,
        samples=dict(samples or {}),
        attributions=dict(attributions or {}),
    )


def choose_example(panel: Panel, arms: Mapping[str, EpisodeSource]) -> Example | None:
    """A task that base lost, the teacher won with hints and the student won without; None where base or student is absent.

    The shortest such episodes are taken, and the note says how many there are and how many went the other way, so
    that a hand-picked success cannot pass for a typical one.
    """
    names = [name for name in EXAMPLE_ARMS if name in arms]
    if "base" not in names or "distill" not in names:
        return None
    columns = _aligned([read_episodes(name, arms[name], panel) for name in names])
    if columns is None:
        return None
    by_name = dict(zip(names, columns, strict=True))
    base, distill = by_name["base"], by_name["distill"]
    learnt = ~base.success & distill.success
    taught = (
        learnt & by_name["teacher"].success & (by_name["teacher"].hints > 0)
        if "teacher" in by_name
        else learnt
    )
    wanted = taught if taught.any() else learnt
    if not wanted.any():
        return None
    turns = np.sum([c.turns for c in columns], axis=0)
    order = np.lexsort((base.seed, base.task, turns))
    chosen = int(order[wanted[order]][0])
    episodes = {n: load_trajectories(arms[n], [str(by_name[n].ids[chosen])])[0] for n in names}
    return Example(episodes=episodes, note=_example_note(base, distill, taught, learnt))


def _example_note(base: EpisodeColumns, distill: EpisodeColumns, taught: Any, learnt: Any) -> str:
    lost = int((base.success & ~distill.success).sum())
    how = (
        f"the shortest of {int(taught.sum()):,} that base lost, the teacher won with hints and the student won without"
        if taught.any()
        else "the shortest that base lost and the student won; the teacher won none of these"
    )
    return (
        f"Chosen, not typical: {how}. Of {len(base):,} (task, seed) pairs the student won {int(learnt.sum()):,} that base lost, "
        f"and lost {lost:,} that base won."
    )


def _aligned(columns: Sequence[EpisodeColumns]) -> list[EpisodeColumns] | None:
    """The same (task, seed) pairs in the same order, without errors."""
    fine = [c.where(~c.error) for c in columns]
    keys = [[(int(t), int(s)) for t, s in zip(c.task, c.seed, strict=True)] for c in fine]
    common = sorted(set(keys[0]).intersection(*keys[1:]))
    if not common:
        return None
    places = [{key: at for at, key in enumerate(own)} for own in keys]
    return [c.where(np.array([place[key] for key in common])) for c, place in zip(fine, places, strict=True)]


def _sources_to_show(hints: Iterable[Hint]) -> list[str]:
    """The first sources of the most frequent hints, each hint before any hint's second."""
    ranked = sorted(hints, key=lambda hint: -hint.count)
    rounds = [
        hint.sources[i] for i in range(SOURCES_SHOWN_PER_HINT) for hint in ranked if i < len(hint.sources)
    ]
    return list(dict.fromkeys(rounds))[:EPISODES_SHOWN]
