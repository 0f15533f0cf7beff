"""The planner against closed forms, against an exact sum over outcomes, and against what it promised."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from distill import cli, statistics
from distill.atomic import write_atomically
from distill.episode_columns import read_episodes
from distill.power import Planner, both_win, effect_of
from distill.power_from_run import PowerSourceError, correlation_within_tasks, measure, measure_run
from distill.results import build_results, results_text


def mcnemar_power(num_pairs, difference, discordance):
    """Chance that McNemar's exact test rejects, summed over every number of discordant pairs and of wins among them."""
    up = (1 + difference / discordance) / 2
    total = 0.0
    for discordant in range(num_pairs + 1):
        wins = np.arange(discordant + 1)
        rejects = [statistics.mcnemar_exact(int(w), int(discordant - w)) < 0.05 for w in wins]
        weight = stats.binom.pmf(discordant, num_pairs, discordance)
        total += weight * float(stats.binom.pmf(wins, discordant, up) @ np.array(rejects, dtype=float))
    return total


def test_both_win_is_the_closed_form_at_even_odds():
    for alike in (-0.8, 0.0, 0.3, 0.95):
        assert both_win(0.5, 0.5, alike) == pytest.approx(0.25 + math.asin(alike) / (2 * math.pi), abs=1e-6)
    assert (
        both_win(0.3, 0.6, 1.0) == 0.3
        and both_win(0.3, 0.6, -1.0) == 0
        and both_win(0.7, 0.6, -1.0) == pytest.approx(0.3)
    )


@pytest.mark.parametrize(
    "stated", [{"correlation": 0.35}, {"discordance": 0.2}, {"correlation": 0.6, "discordance": 0.25}]
)
def test_an_effect_is_what_was_stated_of_it(stated):
    effect = effect_of(0.4, 0.08, **stated)
    assert effect.difference == pytest.approx(0.08)
    if "discordance" in stated:
        assert effect.discordance == pytest.approx(stated["discordance"], abs=1e-5)
    if "correlation" in stated:
        both = both_win(0.4, 0.4, effect.alike_b)
        assert (both - 0.16) / 0.24 == pytest.approx(stated["correlation"], abs=1e-5)


def test_simulated_outcomes_have_the_rates_discordance_and_repetition_of_the_effect():
    effect = effect_of(0.4, 0.1, correlation=0.5, discordance=0.3)
    planner = Planner(400, num_studies=500)
    sums_RC = planner._task_sums(effect, 2)
    assert sums_RC.mean() / 2 == pytest.approx(0.1, abs=0.005)
    variance = effect.discordance - 0.01
    # Var of the sum of two seeds = 2 Var (1 + repetition)
    assert sums_RC.var() == pytest.approx(2 * variance * (1 + effect.repetition), rel=0.02)
    once_RC = planner._task_sums(effect, 1)
    assert np.mean(once_RC != 0) == pytest.approx(effect.discordance, abs=0.005)


@pytest.mark.parametrize(
    "num_tasks,difference,discordance", [(134, 0.1, 0.2), (60, 0.15, 0.3), (240, 0.05, 0.15)]
)
def test_one_seed_has_the_exact_power_of_mcnemar(num_tasks, difference, discordance):
    effect = effect_of(0.5, difference, discordance=discordance)
    found = Planner(num_tasks, num_studies=4000).simulated(effect, 1)
    exact = mcnemar_power(num_tasks, difference, discordance)
    assert abs(found.power - exact) < 3.3 * math.sqrt(exact * (1 - exact) / 4000)
    assert found.ci95[0] < found.power < found.ci95[1]


def test_pairs_needed_is_near_the_exact_sum_over_outcomes():
    needed = statistics.pairs_needed(0.1, 0.25)
    # The formula is asymptotic and the test exact, which costs it some points of power at this size.
    assert 0.74 < mcnemar_power(needed, 0.1, 0.25) < 0.81


def test_134_tasks_need_4_seeds_to_see_5_points():
    """At 85 % and 15 % discordant pairs, seeds that do not repeat each other: 469 pairs by the formula, 4 x 134 = 536."""
    assert statistics.pairs_needed(0.05, 0.15) == 469
    planner, effect = Planner(134), effect_of(0.85, 0.05, discordance=0.15)
    assert planner.seeds_needed(effect, 0.8, 16) == 4
    assert planner.simulated(effect, 4).power >= 0.8 > planner.simulated(effect, 3).power
    assert 0.04 < planner.detectable(effect, 4, 0.8) <= 0.051


def test_the_promised_power_is_delivered():
    """Studies of the same law, drawn by other random numbers and tested outside the planner."""
    runs = 400
    effect = effect_of(0.6, 0.1, correlation=0.4)
    needed = Planner(80).seeds_needed(effect, 0.8, 16)
    assert needed is not None and needed > 1
    sums_RC = Planner(80, num_studies=runs, seed=99)._task_sums(effect, needed)
    found = sum(statistics.sign_flip_p_value(row.astype(float)) < 0.05 for row in sums_RC)
    assert found >= stats.binom.ppf(0.025, runs, 0.8)
    assert Planner(80, num_studies=runs, seed=99).simulated(effect, needed - 1).power < 0.85


def test_seeds_that_repeat_each_other_never_suffice():
    effect = effect_of(0.5, 0.05, correlation=1.0, discordance=0.25)
    planner = Planner(60, num_studies=200)
    assert effect.repetition == pytest.approx(1.0)
    assert planner.seeds_needed(effect, 0.8, 8) is None
    assert planner.simulated(effect, 8).power == pytest.approx(planner.simulated(effect, 1).power, abs=0.1)
    assert planner.tasks_needed(effect, 8, 0.8) == planner.tasks_needed(effect, 1, 0.8) > 500


def test_more_comparisons_need_more_seeds():
    effect = effect_of(0.6, 0.1, correlation=0.4)
    alone, many = (Planner(80, num_studies=500, num_comparisons=m) for m in (1, 8))
    assert many.level == pytest.approx(0.05 / 8)
    assert many.seeds_needed(effect, 0.8, 16) > alone.seeds_needed(effect, 0.8, 16)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"base_rate": 0.97, "difference": 0.05, "correlation": 0.3}, "base rate plus difference is 1.02"),
        ({"base_rate": 0.5, "difference": 0.1}, "a run, a correlation or a discordance"),
        (
            {"base_rate": 0.5, "difference": 0.1, "discordance": 0.05},
            "differ in 0.1 to 0.9 of pairs, not in 0.05",
        ),
        ({"base_rate": 0.5, "difference": 0.1, "correlation": 1.5}, "give 0 to 1"),
        (
            {"base_rate": 0.5, "difference": 0.1, "correlation": 0.1, "discordance": 0.15},
            "too low for a correlation of 0.1",
        ),
    ],
)
def test_an_effect_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        effect_of(**arguments)


def test_correlation_within_tasks_counts_pairs_of_different_seeds():
    success = np.array([1, 1, 0, 1, 0, 0], dtype=bool)
    task = np.array([0, 0, 0, 1, 1, 1])
    # 12 ordered pairs, of which 2 were both won; rate 1/2
    assert correlation_within_tasks(success, task) == pytest.approx((2 / 12 - 0.25) / 0.25)
    assert correlation_within_tasks(success[:2], np.array([0, 1])) is None


def test_what_is_measured_in_a_run_is_what_its_episodes_say(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel)
    measured = measure(*(read_episodes(arm, arms[arm], panel) for arm in ("distill", "baseline")))
    pairs = [(a.success, b.success) for a, b in zip(arms["distill"], arms["baseline"], strict=True)]
    assert measured.num_pairs == 120 and measured.num_tasks == 40 and measured.num_seeds == 3
    assert measured.discordance == pytest.approx(np.mean([a != b for a, b in pairs]))
    effect = measured.effect(measured.rate_a - measured.rate_b)
    assert effect.discordance == pytest.approx(measured.discordance, abs=1e-4)
    assert 0 <= effect.repetition < 0.5


def test_one_seed_and_arms_that_always_win_say_so(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel, seeds=(0,))
    one = measure(*(read_episodes(arm, arms[arm], panel) for arm in ("distill", "baseline")))
    assert one.correlation_a is None and one.effect(0.1).repetition < 0.2
    always = arms_of(panel, {"base": 1 - 1e-12})["base"]
    columns = read_episodes("base", always, panel)
    with pytest.raises(PowerSourceError, match="arm base has the same outcome in every episode"):
        measure(columns, columns)


@pytest.fixture
def finished(tmp_path, panel_of, arms_of):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from actors.store import TRAJECTORIES
    from actors.trajectory import TRAJECTORY_SCHEMA, to_row

    panel, run_dir, store = panel_of(), tmp_path / "tiny", tmp_path / "store"
    arms = arms_of(panel)
    stages = {"tasks": "tasks-1"}
    (store / "tasks-1").mkdir(parents=True)
    panel.save(store / "tasks-1" / "test.panel.json")
    for arm, episodes in arms.items():
        for seed in (0, 1, 2):
            name = f"eval-{arm}-s{seed}"
            stages[name] = f"rollout-{name}"
            path = store / stages[name] / TRAJECTORIES
            path.parent.mkdir(parents=True)
            rows = [to_row(t) for t in episodes if t.seed == seed]
            pq.write_table(pa.Table.from_pylist(rows, schema=TRAJECTORY_SCHEMA), path)
    results = build_results("tiny", panel, arms, resamples=200)
    write_atomically(run_dir / "report" / "results.json", results_text(results))
    document = {"config": {"name": "tiny"}, "store": "../store", "stages": stages}
    (run_dir / "run.json").write_text(json.dumps(document))
    return run_dir


def test_a_run_is_measured_by_its_students_or_by_the_arms_that_are_named(finished):
    assert (measure_run(finished).a, measure_run(finished).b) == ("distill", "baseline")
    assert measure_run(finished).num_comparisons == 8
    teacher = measure_run(finished, ("teacher", "base"))
    assert (teacher.a, teacher.b, teacher.run) == ("teacher", "base", "tiny")
    with pytest.raises(PowerSourceError, match="has no arm 'nobody'; it has base"):
        measure_run(finished, ("nobody", "base"))
    with pytest.raises(PowerSourceError, match="is no finished run"):
        measure_run(finished / "report")


def test_the_command_answers_in_words_and_in_json(finished, capsys):
    stated = ["power", "--tasks", "60", "--base-rate", "0.5", "--correlation", "0.3", "--difference", "0.15"]
    assert cli.main([*stated, "--studies", "300"]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("60 tasks need ") and "15 points up from 50.0 %" in first
    assert cli.main([*stated, "--studies", "300", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert f"need {answer['seeds_needed']} seeds" in first
    assert [row["seeds"] for row in answer["rows"]] == list(range(1, answer["seeds_needed"] + 1))
    assert cli.main(["power", "--from", str(finished), "--studies", "100", "--max-seeds", "1", "--json"]) == 1
    measured = json.loads(capsys.readouterr().out)
    assert measured["tasks"] == 40 and measured["level"] == pytest.approx(0.05 / 8)
    assert measured["measured"]["a"] == "distill" and measured["seeds_needed"] is None


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--tasks", "9"], "--base-rate is missing"),
        (
            ["--tasks", "9", "--base-rate", "0.5"],
            "measure it with --from RUN_DIR, or state --correlation or --discordance",
        ),
        (["--base-rate", "0.5", "--correlation", "0.2"], "--tasks is missing"),
        (["--difference", "5"], "give 0.05 for 5 points"),
        (["--pair", "a", "b"], "add --from RUN_DIR"),
        (["--from", "nowhere", "--correlation", "0.2"], "leave them out, or --from"),
        (["--studies", "0"], "--studies 0 must be 1 or more"),
        (["--tasks", "1", "--base-rate", "0.5", "--correlation", "0.2"], "plan with 2 or more"),
    ],
)
def test_what_the_planner_cannot_answer_is_one_line(arguments, message, capsys):
    assert cli.main(["power", *arguments]) == 2
    assert message in capsys.readouterr().err
