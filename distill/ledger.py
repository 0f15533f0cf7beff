"""What a study cost in tokens and money: by arm, by success, and how long a student takes to pay for itself. Knows no folders and no settings.

Every environment is counted alike, by kind of token, so that any way of adding them up is a view and can be redone:
    prompt      every prompt whole, counted again at each call; `cached` of them came from the prefix cache, `new` did not
    completion  what the model wrote
    retrieval   prompts and replies of a model that chose hints; 0 for retrievers that ask none
    hint_writing  prompts and replies of a model that wrote the bank that the arm rests on
Episodes that the machinery lost count in totals, not in figures by episode, step or success.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill import statistics
from distill.episode_columns import EpisodeColumns, paired

Floats = NDArray[np.float64]

KINDS = ("prompt", "cached", "new", "completion", "retrieval", "hint_writing")

VIEWS = {
    "processed": "prompts whole at every call, replies, and retrieval",
    "computed": "the same without what the prefix cache served",
    "paper": "as arXiv 2510.01375 counted: prompts whole at every call and replies; retrieval in WebShop, not in ALFWorld; hint writing never",
}
_PAPER_COUNTS_RETRIEVAL = {"webshop"}
"""Environments in whose published figures the re-ranker's tokens stand. Kept to be able to set ours beside them, not to count so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """One stage before the evaluations."""

    kind: str
    """rollout, hints or fit."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    training_tokens: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    usd: float | None = None
    """None: no price is known."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else its manifest counts."""

    def tokens(self, view: str) -> int:
        cached = self.cached_tokens if view == "computed" else 0
        return self.prompt_tokens - cached + self.completion_tokens + self.training_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCost:
    """What an arm's evaluation took beside the tokens of its episodes."""

    before: tuple[str, ...] = ()
    """Names of the stages that it rests on."""
    retrieval_prompt_tokens: int = 0
    retrieval_completion_tokens: int = 0
    usd_per_token: tuple[float, float, float] | None = None
    """New prompt, cached and completion tokens, from a price of tokens; None: see `usd`."""
    usd: float | None = None
    """The whole evaluation, from a price of GPU hours; spread over episodes by the tokens that they made the engine compute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCosts:
    stages: Mapping[str, StageCost] = field(default_factory=dict)
    arms: Mapping[str, ArmCost] = field(default_factory=dict)
    prices: Mapping[str, Any] = field(default_factory=dict)
    """Those in use, with date and source."""


def study_ledger(
    episodes: Mapping[str, EpisodeColumns], env: str, costs: StudyCosts, *, resamples: int
) -> dict[str, Any]:
    """The `ledger` of `results.json`."""
    return {
        "arms": [_arm(columns, env, costs, resamples) for columns in episodes.values()],
        "students": [
            _student(episodes[name], episodes["teacher"], env, costs, resamples)
            for name, cost in costs.arms.items()
            if "teacher" in episodes and name in episodes and _trains(cost, costs)
        ],
        "stages": {
            name: {
                **cost.facts,
                "prompt_tokens": cost.prompt_tokens,
                "cached_tokens": cost.cached_tokens,
                "completion_tokens": cost.completion_tokens,
                "training_tokens": cost.training_tokens,
                "seconds": cost.seconds,
                "gpu_seconds": cost.gpu_seconds,
                "usd": cost.usd,
            }
            for name, cost in costs.stages.items()
        },
        "views": dict(VIEWS),
        "prices": dict(costs.prices),
    }


def viewed_tokens(columns: EpisodeColumns, view: str, env: str, retrieval: float) -> Floats:
    """Tokens of each episode as a view counts them, `retrieval` an episode included where the view wants it."""
    tokens_N = (columns.prompt_tokens + columns.completion_tokens).astype(np.float64)
    if view == "computed":
        tokens_N -= columns.cached_tokens
    if view != "paper" or env in _PAPER_COUNTS_RETRIEVAL:
        tokens_N += retrieval
    return tokens_N


def break_even(
    one_off: float, saved: float, ci95: statistics.Interval
) -> tuple[float | None, list[float | None]]:
    """Episodes after which `one_off` is saved, and their interval; None: never."""
    low, high = ci95
    ends = [one_off / high if high > 0 else None, one_off / low if low > 0 else None]
    return (one_off / saved if saved > 0 else None), ends


def _arm(columns: EpisodeColumns, env: str, costs: StudyCosts, resamples: int) -> dict[str, Any]:
    cost = costs.arms.get(columns.name, ArmCost())
    scored = columns.where(~columns.error)
    totals = _totals(columns, cost, costs)
    # Retrieval and hint writing belong to no episode: each bears the same share.
    outside = {
        kind: totals[kind] / max(1, len(columns)) * len(scored) for kind in ("retrieval", "hint_writing")
    }
    counted = _own_tokens(scored) | outside
    num_steps, num_wins = int(scored.steps.sum()), int(scored.success.sum())
    retrieval = totals["retrieval"] / max(1, len(columns))
    viewed = {view: viewed_tokens(scored, view, env, retrieval) for view in VIEWS}
    usd_N = _usd(columns, cost)
    if usd_N is not None:
        viewed["usd"] = usd_N[~columns.error]
    rates = _by_episode_and_success(viewed, scored, resamples)
    return {
        "name": columns.name,
        "episodes": len(scored),
        "lost_episodes": len(columns) - len(scored),
        "steps": num_steps,
        "successes": num_wins,
        "tokens": {
            kind: {
                "total": totals[kind],
                "per_episode": _share(counted[kind], len(scored)),
                "per_step": _share(counted[kind], num_steps),
                "per_success": _share(counted[kind], num_wins),
            }
            for kind in KINDS
        },
        "views": {view: rates[view] for view in VIEWS},
        "usd": None if usd_N is None else {"total": float(usd_N.sum())} | rates["usd"],
        "before_usd": _sum_usd([costs.stages[name] for name in cost.before]),
    }


def _own_tokens(columns: EpisodeColumns) -> dict[str, float]:
    prompt, cached = int(columns.prompt_tokens.sum()), int(columns.cached_tokens.sum())
    completion = int(columns.completion_tokens.sum())
    return {"prompt": prompt, "cached": cached, "new": prompt - cached, "completion": completion}


def _totals(columns: EpisodeColumns, cost: ArmCost, costs: StudyCosts) -> dict[str, float]:
    written = [costs.stages[name] for name in cost.before if costs.stages[name].kind == "hints"]
    return _own_tokens(columns) | {
        "retrieval": cost.retrieval_prompt_tokens + cost.retrieval_completion_tokens,
        "hint_writing": sum(stage.tokens("processed") for stage in written),
    }


def _by_episode_and_success(
    values: Mapping[str, Floats], columns: EpisodeColumns, resamples: int
) -> dict[str, dict[str, Any]]:
    """Means, with intervals by resampling tasks; a ratio of means where successes divide."""
    names = ("per_episode", "per_episode_ci95", "per_success", "per_success_ci95")
    if not len(columns):
        return {name: dict.fromkeys(names) for name in values}
    stacked = np.stack([*values.values(), columns.success.astype(np.float64)], axis=1)
    sums = statistics.cluster_sums(stacked, columns.task)
    wins_C = np.round(sums.totals[:, -1]).astype(np.int64)
    by_episode = statistics.bootstrap_intervals(sums, resamples=resamples)
    by_success = (
        statistics.ratio_intervals(
            statistics.ClusterSums(totals=sums.totals[:, :-1], counts=wins_C), resamples=resamples
        )
        if wins_C.any()
        else [None] * len(values)
    )
    return {
        name: {
            "per_episode": float(values_N.mean()),
            "per_episode_ci95": list(episode),
            "per_success": _share(float(values_N.sum()), int(wins_C.sum())),
            "per_success_ci95": list(success) if success else None,
        }
        for (name, values_N), episode, success in zip(
            values.items(), by_episode[:-1], by_success, strict=True
        )
    }


def _usd(columns: EpisodeColumns, cost: ArmCost) -> Floats | None:
    new_N = (columns.prompt_tokens - columns.cached_tokens).astype(np.float64)
    if cost.usd_per_token is not None:
        for_new, for_cached, for_completion = cost.usd_per_token
        chosen = (
            cost.retrieval_prompt_tokens * for_new + cost.retrieval_completion_tokens * for_completion
        ) / max(1, len(columns))
        paid_N = (
            new_N * for_new + columns.cached_tokens * for_cached + columns.completion_tokens * for_completion
        )
        return np.asarray(paid_N + chosen, dtype=np.float64)
    computed_N = new_N + columns.completion_tokens
    if cost.usd is None or computed_N.sum() == 0:
        return None
    return np.asarray(cost.usd * computed_N / computed_N.sum(), dtype=np.float64)


def _student(
    student: EpisodeColumns, teacher: EpisodeColumns, env: str, costs: StudyCosts, resamples: int
) -> dict[str, Any]:
    """A student's price once against what it saves an episode: the teacher carries hints in every prompt."""
    own, other = costs.arms[student.name], costs.arms.get("teacher", ArmCost())
    beyond = [name for name in own.before if name not in other.before]
    a, b = paired(student.where(~student.error), teacher.where(~teacher.error))
    retrieval = {
        columns.name: (cost.retrieval_prompt_tokens + cost.retrieval_completion_tokens) / max(1, len(columns))
        for columns, cost in ((student, own), (teacher, other))
    }
    rows: dict[str, Any] = {}
    for view in ("processed", "computed"):
        saved_N = viewed_tokens(b, view, env, retrieval["teacher"]) - viewed_tokens(
            a, view, env, retrieval[student.name]
        )
        one_off = {name: costs.stages[name].tokens(view) for name in own.before}
        rows[view] = _payback(saved_N, a.task, one_off, beyond, resamples)
    paid, paid_other = _usd(student, own), _usd(teacher, other)
    usd_by_stage = {name: costs.stages[name].usd for name in own.before}
    if paid is not None and paid_other is not None and None not in usd_by_stage.values():
        saved = float(paid_other.mean() - paid.mean())
        known = {name: usd or 0.0 for name, usd in usd_by_stage.items()}
        rows["usd"] = _payback_in_usd(saved, known, beyond)
    return {"arm": student.name, "teacher": teacher.name, "n_pairs": len(a)} | rows


def _payback(
    saved_N: Floats,
    task_N: NDArray[np.int64],
    one_off: Mapping[str, float],
    beyond: list[str],
    resamples: int,
) -> dict[str, Any] | None:
    if not len(saved_N):
        return None
    sums = statistics.cluster_sums(saved_N[:, None], task_N)
    (ci95,) = statistics.bootstrap_intervals(sums, resamples=resamples)
    saved, total = float(saved_N.mean()), float(sum(one_off.values()))
    beyond_teacher = float(sum(one_off[name] for name in beyond))
    episodes, ends = break_even(total, saved, ci95)
    episodes_beyond, ends_beyond = break_even(beyond_teacher, saved, ci95)
    return {
        "one_off": dict(one_off),
        "one_off_total": total,
        "one_off_beyond_teacher": beyond_teacher,
        "saved_per_episode": saved,
        "saved_ci95": list(ci95),
        "break_even_episodes": episodes,
        "break_even_ci95": ends,
        "break_even_episodes_beyond_teacher": episodes_beyond,
        "break_even_beyond_teacher_ci95": ends_beyond,
    }


def _payback_in_usd(saved: float, one_off: Mapping[str, float], beyond: list[str]) -> dict[str, Any]:
    total, beyond_teacher = sum(one_off.values()), sum(one_off[name] for name in beyond)
    return {
        "one_off": dict(one_off),
        "one_off_total": total,
        "one_off_beyond_teacher": beyond_teacher,
        "saved_per_episode": saved,
        "break_even_episodes": total / saved if saved > 0 else None,
        "break_even_episodes_beyond_teacher": beyond_teacher / saved if saved > 0 else None,
    }


def _trains(cost: ArmCost, costs: StudyCosts) -> bool:
    return any(costs.stages[name].kind == "fit" for name in cost.before)


def _sum_usd(stages: list[StageCost]) -> float | None:
    known = [stage.usd for stage in stages if stage.usd is not None]
    return sum(known) if len(known) == len(stages) else None


def _share(total: float, number: int) -> float | None:
    return float(total) / number if number else None
