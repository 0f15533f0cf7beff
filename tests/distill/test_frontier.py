"""Who is on the frontier, on arms whose order is known."""

from dataclasses import replace

import pytest

from distill.results import build_results


def dearer(trajectories, tokens):
    """The same episodes with so many more prompt tokens a turn."""
    return [
        replace(t, turns=tuple(replace(turn, prompt_tokens=turn.prompt_tokens + tokens) for turn in t.turns))
        for t in trajectories
    ]


def frontier_of(panel, arms):
    return {point["arm"]: point for point in build_results("s", panel, arms, resamples=300)["frontier"]}


@pytest.fixture
def panel(panel_of):
    return panel_of(40)


def test_an_arm_that_wins_more_for_less_dominates_and_certainly(panel, arms_of):
    arms = arms_of(panel, {"base": 0.2, "distill": 0.8})
    points = frontier_of(panel, arms | {"base": dearer(arms["base"], 500)})
    by = points["base"]["dominated_by"]
    assert points["distill"]["dominated_by"] is None
    assert (by["arm"], by["certain"], by["n_pairs"]) == ("distill", True, 120)
    assert by["success_gain"] == pytest.approx(
        points["distill"]["success_rate"] - points["base"]["success_rate"]
    )
    assert by["tokens_saved"] == pytest.approx(points["base"]["tokens"] - points["distill"]["tokens"])
    low, high = by["tokens_saved_ci95"]
    assert 0 < low < by["tokens_saved"] < high


def test_who_pays_more_and_wins_more_is_on_the_frontier_too(panel, arms_of):
    arms = arms_of(panel, {"base": 0.2, "teacher": 0.8})
    points = frontier_of(panel, arms | {"teacher": dearer(arms["teacher"], 2000)})
    assert points["base"]["dominated_by"] is None and points["teacher"]["dominated_by"] is None


def test_the_same_wins_for_more_tokens_are_dominated_but_not_certainly(panel, arms_of):
    (base,) = arms_of(panel, {"base": 0.5}).values()
    points = frontier_of(panel, {"base": base, "padded": dearer(base, 10)})
    by = points["padded"]["dominated_by"]
    assert by["arm"] == "base" and by["success_gain"] == 0 and not by["certain"]
    assert points["base"]["dominated_by"] is None


def test_equal_arms_do_not_dominate_each_other(panel, arms_of):
    (base,) = arms_of(panel, {"base": 0.5}).values()
    points = frontier_of(panel, {"base": base, "twin": base})
    assert all(point["dominated_by"] is None for point in points.values())


def test_tokens_are_those_of_an_episode_with_an_interval_over_tasks(panel, arms_of):
    (base,) = arms_of(panel, {"base": 0.5}).values()
    point = frontier_of(panel, {"base": base})["base"]
    told = [sum(turn.prompt_tokens + turn.completion_tokens for turn in t.turns) for t in base]
    assert point["tokens"] == pytest.approx(sum(told) / len(told))
    assert point["tokens_ci95"][0] < point["tokens"] < point["tokens_ci95"][1]


def test_an_arm_of_errors_alone_has_no_point(panel, arms_of):
    (base,) = arms_of(panel, {"base": 0.5}).values()
    broken = [replace(t, end="error") for t in base]
    assert set(frontier_of(panel, {"base": base, "broken": broken})) == {"base"}
