"""All figures of a study in one document, `results.json`: what each arm scored and which differences are real."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill import statistics
from distill.episode_columns import EpisodeColumns, EpisodeSource, paired, read_episodes
from distill.frontier import token_frontier
from distill.kind_cells import kind_cells
from distill.ledger import StudyCosts, study_ledger
from distill.stragglers import straggler_row, straggler_warnings
from distill.tied_groups import tied_groups
from envs.panel import Panel, PanelMismatchError

ARM_ORDER = ("base", "teacher", "baseline", "distill", "teacher_random", "best_of_2")

STANDARD_COMPARISONS = (
    ("teacher", "base"),
    ("baseline", "base"),
    ("distill", "base"),
    ("distill", "baseline"),
    ("distill", "best_of_2"),
    ("teacher", "teacher_random"),
    ("teacher_random", "base"),
    ("distill", "teacher"),
)

METRICS = ("success", "score", "steps", "prompt_tokens", "completion_tokens")
ALPHA = 0.05


def build_results(
    study: str,
    panel: Panel,
    arms: Mapping[str, EpisodeSource],
    meta: Mapping[str, Mapping[str, Any]] | None = None,
    comparisons: Sequence[tuple[str, str]] | None = None,
    training: Sequence[Mapping[str, Any]] = (),
    versions: Mapping[str, str] | None = None,
    *,
    determinism: str | None = None,
    costs: StudyCosts = StudyCosts(),
    notes: Sequence[str] = (),
    resamples: int = statistics.NUM_RESAMPLES,
) -> dict[str, Any]:
    """The document that `results.json` holds.

    `meta[arm]` may state what it is (`about`), env, agent, model and adapter (read from the episodes otherwise), `panel_sha256` (checked), and
    `ledger` (token counts spent outside the episodes, such as retrieval). Comparisons with an absent arm are left out,
    unless they were asked for by name. Errors of the machinery are counted and take no part in any rate.
    """
    meta = meta or {}
    _require_one_panel(panel, meta)
    names = [n for n in ARM_ORDER if n in arms] + [n for n in arms if n not in ARM_ORDER]
    episodes = {name: read_episodes(name, arms[name], panel) for name in names}
    seeds = sorted({int(s) for columns in episodes.values() for s in np.unique(columns.seed)})
    kinds = [task.kind for task in panel.tasks]
    arm_rows = [_arm_row(episodes[n], panel, dict(meta.get(n, {})), len(seeds)) for n in names]
    for row in arm_rows:
        row["stragglers"] = straggler_row(episodes[row["name"]], kinds, resamples=resamples)
    tied = _tied(episodes, arm_rows, resamples)
    for row in arm_rows:
        row["tied"] = "".join(group["letter"] for group in tied["groups"] if row["name"] in group["arms"])
    return {
        "study": study,
        "panel": {
            "name": panel.name,
            "sha256": panel.sha256,
            "num_tasks": len(panel.tasks),
            "dialect": panel.dialect,
        },
        "seeds": seeds,
        "arms": arm_rows,
        "comparisons": _comparisons(episodes, comparisons, resamples),
        "tied": tied,
        "kinds": kind_cells(episodes, arm_rows, kinds, resamples=resamples),
        "frontier": token_frontier(episodes, arm_rows, resamples=resamples),
        "training": [dict(row) for row in training],
        "versions": dict(versions or {}),
        "determinism": determinism,
        "ledger": study_ledger(episodes, panel.tasks[0].env, costs, resamples=resamples),
        "notes": [*notes, *_warnings(episodes, arm_rows)],
    }


def results_text(results: Mapping[str, Any]) -> str:
    """`results.json` as text."""
    return json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def verdict(row: Mapping[str, Any]) -> str:
    """ "real", "suggestive" (told apart alone, not among all comparisons of the study) or "not told apart"."""
    low, high = row["ci95"]
    if low <= 0 <= high or row["p_value"] >= ALPHA:
        return "not told apart"
    return "real" if row["p_value_holm"] < ALPHA else "suggestive"


def _require_one_panel(panel: Panel, meta: Mapping[str, Mapping[str, Any]]) -> None:
    for name, stated in meta.items():
        sha256 = stated.get("panel_sha256", panel.sha256)
        if sha256 != panel.sha256:
            raise PanelMismatchError(
                f"arm {name} was evaluated on panel {sha256[:12]}, the study's panel {panel.name} is {panel.sha256[:12]}; "
                "evaluate it on the study's panel, results of different panels are never compared"
            )


def _arm_row(columns: EpisodeColumns, panel: Panel, stated: dict[str, Any], num_seeds: int) -> dict[str, Any]:
    scored = columns.where(~columns.error)
    n, num_errors = len(scored), int(columns.error.sum())
    ends, counts = np.unique(columns.end.astype(str), return_counts=True)
    kinds_N = np.array([task.kind for task in panel.tasks])[scored.task]
    num_turns = int(scored.turns.sum())
    return {
        "name": columns.name,
        "about": stated.get("about"),
        "env": stated.get("env", panel.tasks[0].env),
        "agent": stated.get("agent", columns.agent),
        "model": stated.get("model", columns.model),
        "adapter": stated.get("adapter", columns.adapter),
        "n": n,
        **_success(scored.success, scored.task),
        **{
            metric: _mean(getattr(scored, metric))
            for metric in ("score", "steps", "prompt_tokens", "cached_tokens", "completion_tokens")
        },
        "errors": num_errors,
        "missing": len(panel.tasks) * num_seeds - len(columns),
        "seeds": [int(s) for s in np.unique(columns.seed)],
        "success_rate_errors_as_failures": float(scored.success.sum()) / len(columns)
        if len(columns)
        else None,
        "invalid_rate": float(scored.invalid.sum()) / num_turns if num_turns else None,
        "hints": _mean(scored.hints),
        "retries": int(columns.retries.sum()),
        "ends": {str(end): int(count) for end, count in zip(ends, counts, strict=True)},
        "kinds": {
            str(kind): {"n": int((kinds_N == kind).sum())}
            | _success(scored.success[kinds_N == kind], scored.task[kinds_N == kind])
            for kind in np.unique(kinds_N)
        },
        "ledger": {
            "prompt_tokens": int(columns.prompt_tokens.sum()),
            "cached_tokens": int(columns.cached_tokens.sum()),
            "completion_tokens": int(columns.completion_tokens.sum()),
            **stated.get("ledger", {}),
        },
    }


def _success(success_N: NDArray[np.bool_], task_N: NDArray[np.int64]) -> dict[str, Any]:
    if not len(success_N):
        return {"success_rate": None, "success_ci95": None, "effective_n": 0.0}
    rate = float(success_N.mean())
    effective = statistics.effective_number(success_N, task_N)
    return {
        "success_rate": rate,
        "success_ci95": list(statistics.wilson_interval(rate * effective, effective)),
        "effective_n": effective,
    }


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _comparisons(
    episodes: Mapping[str, EpisodeColumns], asked: Sequence[tuple[str, str]] | None, resamples: int
) -> list[dict[str, Any]]:
    for a, b in asked or ():
        if a not in episodes or b not in episodes:
            raise ValueError(
                f"comparison {a} - {b} needs an arm that the study has not: {', '.join(episodes)}"
            )
    standard = [(a, b) for a, b in STANDARD_COMPARISONS if a in episodes and b in episodes]
    pairs = list(asked) if asked is not None else standard
    rows = [row for a, b in pairs for row in _compare(episodes[a], episodes[b], resamples)]
    for metric in METRICS:
        family = [row for row in rows if row["metric"] == metric]
        for row, adjusted in zip(family, statistics.holm([r["p_value"] for r in family]), strict=True):
            row["p_value_holm"] = adjusted
            row["verdict"] = verdict(row)
    return rows


def _compare(a: EpisodeColumns, b: EpisodeColumns, resamples: int) -> list[dict[str, Any]]:
    """One row a metric, over the (task, seed) pairs that both arms finished without an error."""
    a, b = _scored_pairs(a, b)
    if not len(a):
        return []
    differences_NM = np.stack([getattr(a, m).astype(np.float64) - getattr(b, m) for m in METRICS], axis=1)
    sums = statistics.cluster_sums(differences_NM, a.task)
    intervals = statistics.bootstrap_intervals(sums, resamples=resamples)
    rows: list[dict[str, Any]] = []
    for index, metric in enumerate(METRICS):
        p_value = statistics.sign_flip_p_value(sums.totals[:, index], resamples=resamples)
        rows.append(
            {
                "a": a.name,
                "b": b.name,
                "metric": metric,
                "delta": float(sums.means[index]),
                "ci95": list(intervals[index]),
                "p_value": p_value,
                "n_pairs": len(a),
                "num_tasks": len(sums.counts),
                "test": "sign_flip_by_task",
            }
        )
    rows[0] |= _success_pairs(a, b)
    if len(sums.counts) == len(a):  # one seed a task: the pairs are independent
        rows[0] |= {"test": "mcnemar_exact", "p_value": rows[0]["p_value_mcnemar"]}
    return rows


def _success_pairs(a: EpisodeColumns, b: EpisodeColumns) -> dict[str, Any]:
    a_only, b_only = int((a.success & ~b.success).sum()), int((~a.success & b.success).sum())
    discordance = (a_only + b_only) / len(a)
    difference_N = a.success.astype(np.float64) - b.success
    worth = statistics.effective_number(difference_N, a.task)
    return {
        "a_only": a_only,
        "b_only": b_only,
        "p_value_mcnemar": statistics.mcnemar_exact(a_only, b_only),
        "delta_by_seed": {
            str(seed): float(difference_N[a.seed == seed].mean()) for seed in np.unique(a.seed)
        },
        "detectable_difference": statistics.detectable_difference(worth, discordance),
    }


def _tied(
    episodes: Mapping[str, EpisodeColumns], arm_rows: Sequence[Mapping[str, Any]], resamples: int
) -> dict[str, Any]:
    """Which arms cannot be told apart in success, best arm first: the sign-flip test of every pair of arms, Holm over all pairs.

    More pairs than the study's comparisons, so a stricter look: a comparison may be real while its arms are tied here. Arms
    that share no pair of episodes are tied for want of evidence.
    """
    played = [row for row in arm_rows if row["success_rate"] is not None]
    names = [row["name"] for row in sorted(played, key=lambda row: -row["success_rate"])]
    rows: list[dict[str, Any]] = []
    for a, b in combinations(names, 2):
        one, other = _scored_pairs(episodes[a], episodes[b])
        differences_N = one.success.astype(np.float64) - other.success
        sums = statistics.cluster_sums(differences_N[:, None], one.task)
        p_value = statistics.sign_flip_p_value(sums.totals[:, 0], resamples=resamples)
        rows.append({"a": a, "b": b, "p_value": p_value, "n_pairs": len(one)})
    for row, adjusted in zip(rows, statistics.holm([row["p_value"] for row in rows]), strict=True):
        row["p_value_holm"] = adjusted
    groups = tied_groups(names, {(row["a"], row["b"]): row["p_value_holm"] < ALPHA for row in rows})
    return {
        "metric": "success",
        "alpha": ALPHA,
        "groups": [{"letter": letter, "arms": list(arms)} for letter, arms in groups.items()],
        "pairs": rows,
    }


def _scored_pairs(a: EpisodeColumns, b: EpisodeColumns) -> tuple[EpisodeColumns, EpisodeColumns]:
    """The (task, seed) pairs that both arms finished without an error."""
    return paired(a.where(~a.error), b.where(~b.error))


def _warnings(episodes: Mapping[str, EpisodeColumns], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    for row in rows:
        if row["errors"]:
            notes.append(
                f"{row['name']}: {row['errors']} episodes ended in an error of the machinery and count in no rate"
            )
        if row["missing"]:
            notes.append(f"{row['name']}: {row['missing']} episodes of the panel were not played")
        if episodes[row["name"]].num_duplicates:
            notes.append(
                f"{row['name']}: {episodes[row['name']].num_duplicates} rows were written twice and count once"
            )
    notes += straggler_warnings(rows)
    if len({seed for row in rows for seed in row["seeds"]}) == 1:
        notes.append(
            "one seed: intervals speak of other tasks, and nothing here tells how far another training or another draw would differ"
        )
    panels_seeds = [tuple(row["seeds"]) for row in rows]
    if any(x != y for x, y in pairwise(panels_seeds)):
        notes.append("the arms were not played with the same seeds; comparisons use the pairs that both have")
    return notes
