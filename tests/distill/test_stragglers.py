"""The straggler-bias line: counted by hand, said in words, and a warning when budgets ended one kind of task more than others."""

from dataclasses import replace

import numpy as np
import pytest

from actors.trajectory import EndReason, Turn
from distill.episode_columns import read_episodes
from distill.report import words
from distill.report.table import table_text
from distill.results import build_results
from distill.stragglers import straggler_row, straggler_warnings

SLOW = Turn(reply="look", action="look", observation="Nothing.", seconds=2.0)


def over_budget(trajectory, end=EndReason.STEP_LIMIT, turns=50):
    return replace(trajectory, end=end, success=False, score=0.0, turns=(SLOW,) * turns)


@pytest.fixture
def panel(panel_of):
    return panel_of(60)


def row_of(panel, trajectories, **changes):
    kinds = [task.kind for task in panel.tasks]
    return straggler_row(read_episodes("base", trajectories, panel), kinds, resamples=500, **changes)


def won(arms_of, panel):
    return [
        replace(t, end=EndReason.DONE, success=True)
        for t in arms_of(panel, {"base": 0.5}, seeds=(0,))["base"]
    ]


def test_every_episode_is_in_the_line(panel, arms_of):
    episodes = won(arms_of, panel)
    episodes[0] = over_budget(episodes[0])
    episodes[1] = over_budget(episodes[1], EndReason.TOKEN_LIMIT, turns=20)
    episodes[2] = over_budget(episodes[2], EndReason.TIME_LIMIT, turns=10)
    episodes[3] = replace(episodes[3], end=EndReason.ERROR, error="engine died", success=False, retries=3)
    episodes[4] = replace(episodes[4], retries=2)
    episodes[5] = replace(episodes[5], end=EndReason.REPETITION, success=False)
    line = row_of(panel, episodes)
    assert line["over_budget"] == {"steps": 1, "tokens": 1, "seconds": 1}
    assert (line["errors"], line["retries"]) == (1, 5)
    groups = line["groups"]
    assert [groups[name]["n"] for name in ("finished", "over budget", "retried")] == [60 - 5, 3, 1]
    assert groups["over budget"]["success_rate"] == 0.0
    assert groups["finished"]["success_rate"] == groups["retried"]["success_rate"] == 1.0
    assert groups["over budget"]["turns"] == list(np.quantile([10, 20, 50], [0.1, 0.5, 0.9]))
    assert groups["over budget"]["seconds"][1] == pytest.approx(40.0)
    assert line["kind_mix"] is None, "three say nothing about kinds"


def test_a_budget_that_falls_on_one_kind_is_a_warning(panel, arms_of):
    kind = panel.tasks[1].kind
    episodes = [
        over_budget(t) if t.task.kind == kind and n < 40 else t for n, t in enumerate(won(arms_of, panel))
    ]
    line = row_of(panel, episodes)
    assert line["kind_mix"]["kinds"][kind] == {"over_budget": 13, "n": 20}
    assert line["kind_mix"]["p_value"] < 0.01
    [warning] = straggler_warnings([{"name": "base", "stragglers": line}])
    assert warning.startswith(
        f"base: budgets ended some kinds of task more often than others (13 of 20 {kind}, "
    )


def test_a_budget_that_falls_on_all_alike_is_none(panel, arms_of):
    episodes = [over_budget(t) if n % 4 == 0 else t for n, t in enumerate(won(arms_of, panel))]
    line = row_of(panel, episodes)
    assert line["kind_mix"]["p_value"] > 0.5
    assert straggler_warnings([{"name": "base", "stragglers": line}]) == []


def test_seeds_of_a_task_are_one_piece_of_evidence(panel, arms_of):
    """Two long tasks of a kind under ten seeds are twenty episodes over budget, and still two tasks."""
    long = {panel.tasks[1].key, panel.tasks[4].key}
    episodes = [
        over_budget(replace(t, seed=seed)) if t.task.key in long else replace(t, seed=seed)
        for t in won(arms_of, panel)
        for seed in range(10)
    ]
    assert row_of(panel, episodes)["kind_mix"]["p_value"] > 0.05


def test_the_report_says_it_and_an_old_document_without_it_is_read(panel, arms_of):
    kind = panel.tasks[0].kind
    base = [over_budget(t) if t.task.kind == kind else t for t in won(arms_of, panel)]
    results = build_results("demo", panel, {"base": base}, resamples=500)
    [sentence] = words.stragglers(results)
    assert sentence.startswith(
        "base: 20 over budget (20 steps): success 0.0 %, 50 turns (50-50), 100.0 s; 40 finished: "
    )
    assert any("budgets ended some kinds" in note for note in results["notes"])
    assert "20 over budget" in table_text(results)
    for arm in results["arms"]:
        del arm["stragglers"]
    assert words.stragglers(results) == []
