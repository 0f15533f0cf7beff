"""Each figure against another implementation, then each claim (size, power, coverage) against simulated studies."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from distill import statistics


def study(rng, *, tasks=80, seeds=3, effect=0.0, spread=1.5):
    """Paired outcomes of two arms on tasks of very different difficulty: (differences [pairs, 1], clusters)."""
    difficulty_C = rng.normal(0, spread, size=(tasks, 1))
    win = lambda shift: rng.random((tasks, seeds)) < 1 / (1 + np.exp(-(difficulty_C + shift)))  # noqa: E731
    difference = win(effect).astype(float) - win(0.0).astype(float)
    return difference.reshape(-1, 1), np.repeat(np.arange(tasks), seeds)


@pytest.fixture
def reference():
    """Statsmodels' own figures; it comes with `pip install -e ".[dev]"`."""
    pytest.importorskip("statsmodels", reason="statsmodels is the reference here; install the dev extra")
    from statsmodels.stats import contingency_tables, multitest, proportion

    return SimpleNamespace(
        mcnemar=contingency_tables.mcnemar,
        holm=lambda p_values: multitest.multipletests(p_values, method="holm")[1],
        wilson=lambda successes, n: proportion.proportion_confint(successes, n, method="wilson"),
    )


@pytest.mark.parametrize("successes,n", [(0, 10), (10, 10), (7, 10), (143, 240), (1, 134)])
def test_wilson_is_the_one_of_statsmodels(successes, n, reference):
    expected = reference.wilson(successes, n)
    assert statistics.wilson_interval(successes, n) == pytest.approx(expected, abs=1e-12)


def test_wilson_refuses_what_is_no_proportion():
    with pytest.raises(ValueError, match="11 successes of 10"):
        statistics.wilson_interval(11, 10)


@pytest.mark.parametrize("a_only,b_only", [(0, 0), (5, 5), (3, 14), (41, 12), (0, 9), (120, 90)])
def test_mcnemar_is_the_one_of_statsmodels(a_only, b_only, reference):
    expected = reference.mcnemar([[7, a_only], [b_only, 5]], exact=True).pvalue
    assert statistics.mcnemar_exact(a_only, b_only) == pytest.approx(expected)


@pytest.mark.parametrize("a_only,b_only", [(0, 0), (5, 5), (3, 14), (41, 12), (0, 9)])
def test_sign_flip_with_one_seed_a_task_is_mcnemar(a_only, b_only):
    sums = np.array([1.0] * a_only + [-1.0] * b_only + [0.0] * 30)
    assert statistics.sign_flip_p_value(sums) == pytest.approx(statistics.mcnemar_exact(a_only, b_only))


def test_sign_flip_is_the_permutation_test_of_scipy():
    sums = np.array([3.0, 2, -1, 1, 2, 0, -2, 3, 1, 1])
    expected = stats.permutation_test(
        (sums, np.zeros(10)),
        lambda x, y, axis: (x - y).sum(axis),
        permutation_type="samples",
        vectorized=True,
    )
    assert statistics.sign_flip_p_value(sums) == pytest.approx(expected.pvalue)


def test_counted_sign_flips_are_every_pattern_of_signs():
    sums = np.array([4.0, 2, -1, 1, 2, -3, 3, 1, 1, -1])
    patterns = np.array(np.meshgrid(*[[-1, 1]] * 10)).reshape(10, -1)
    expected = np.mean(np.abs(np.abs(sums) @ patterns) >= abs(sums.sum()))
    assert statistics.sign_flip_p_value(sums) == pytest.approx(expected)


def test_drawn_sign_flips_agree_with_counted_ones():
    sums = np.array([3.0, 2, -1, 1, 2, 0, -2, 3, 1, 1, -1, 2, -1])
    counted = statistics.sign_flip_p_value(sums)
    drawn = statistics.sign_flip_p_value(sums, largest_exact=0, resamples=40_000)
    assert drawn == pytest.approx(counted, abs=0.01) and drawn != counted


def test_drawn_p_value_is_never_zero():
    assert statistics.sign_flip_p_value(np.full(60, 0.3), resamples=999) == pytest.approx(1 / 1000)


def test_holm_is_the_one_of_statsmodels(reference):
    p_values = [0.04, 0.001, 0.3, 0.012, 0.012, 0.9]
    assert statistics.holm(p_values) == pytest.approx(reference.holm(p_values))
    assert statistics.holm([]) == []


@pytest.mark.parametrize("method,scipy_method", [("bca", "BCa"), ("percentile", "percentile")])
def test_bootstrap_is_the_one_of_scipy_when_a_task_has_one_pair(method, scipy_method):
    skewed = np.random.default_rng(5).lognormal(sigma=1.2, size=30)  # where the two methods lie 0.3 apart
    expected = stats.bootstrap(
        (skewed,), np.mean, method=scipy_method, n_resamples=40_000, rng=3
    ).confidence_interval
    sums = statistics.cluster_sums(skewed[:, None], np.arange(30))
    (found,) = statistics.bootstrap_intervals(sums, method=method, resamples=40_000)
    assert found == pytest.approx((expected.low, expected.high), abs=0.05)


def test_ratio_interval_is_the_one_of_scipy_when_a_task_has_one_episode():
    rng = np.random.default_rng(8)
    won = rng.random(80) < 0.6
    tokens = rng.lognormal(6, 0.5, 80) * np.where(won, 1, 2)
    expected = stats.bootstrap(
        (tokens, won.astype(float)),
        lambda t, w, axis: t.sum(axis) / w.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        rng=3,
    ).confidence_interval
    sums = statistics.ClusterSums(totals=tokens[:, None], counts=won.astype(np.int64))
    (found,) = statistics.ratio_intervals(sums, resamples=20_000)
    assert sums.means[0] == pytest.approx(tokens.sum() / won.sum())
    assert found == pytest.approx((expected.low, expected.high), rel=0.01)


def test_ratio_without_enough_to_divide_by_has_no_upper_end():
    totals = np.full((12, 1), 100.0)
    for wins in ([1] + [0] * 11, [1, 1] + [0] * 10):
        (interval,) = statistics.ratio_intervals(
            statistics.ClusterSums(totals=totals, counts=np.array(wins)), resamples=500
        )
        assert interval[1] is None and 0 < interval[0] <= 1200
    (interval,) = statistics.ratio_intervals(
        statistics.ClusterSums(totals=totals, counts=np.array([1, 0] * 6)), resamples=500
    )
    assert interval[0] < 200 < interval[1]


def test_bootstrap_sees_that_seeds_of_a_task_repeat_each_other():
    once = np.random.default_rng(1).integers(-1, 2, size=(100, 1)).astype(float)
    single = statistics.cluster_sums(once, np.arange(100))
    tripled = statistics.cluster_sums(np.repeat(once, 3, axis=0), np.repeat(np.arange(100), 3))
    assert statistics.bootstrap_intervals(tripled)[0] == pytest.approx(
        statistics.bootstrap_intervals(single)[0]
    )


def test_bootstrap_is_seeded_and_quick():
    rng = np.random.default_rng(0)
    sums = statistics.cluster_sums(rng.normal(size=(720, 5)), np.repeat(np.arange(240), 3))
    started = time.process_time()
    first = statistics.bootstrap_intervals(sums, seed=7)
    assert time.process_time() - started < 2  # 0.1 s on an idle core
    assert (
        first == statistics.bootstrap_intervals(sums, seed=7) != statistics.bootstrap_intervals(sums, seed=8)
    )


def test_bootstrap_of_equal_arms_is_the_point():
    sums = statistics.cluster_sums(np.zeros((12, 1)), np.arange(12))
    assert statistics.bootstrap_intervals(sums) == [(0.0, 0.0)]


def test_bootstrap_in_blocks_is_as_wide(monkeypatch):
    sums = statistics.cluster_sums(np.random.default_rng(0).normal(size=(300, 1)), np.arange(300))
    whole = statistics.bootstrap_intervals(sums)[0]
    monkeypatch.setattr(statistics, "_CELLS_AT_ONCE", 300 * 700)
    assert statistics.bootstrap_intervals(sums)[0] == pytest.approx(whole, abs=0.01)


def test_seeds_that_repeat_each_other_count_once():
    success = np.random.default_rng(2).random(80) < 0.4
    assert statistics.effective_number(success, np.arange(80)) == 80
    assert statistics.effective_number(np.repeat(success, 3), np.repeat(np.arange(80), 3)) == pytest.approx(
        80
    )
    assert statistics.effective_number(np.ones(6), np.repeat([0, 1], 3)) == 2


def test_independent_seeds_count_in_full():
    success = np.random.default_rng(2).random(3000) < 0.4
    assert statistics.effective_number(success, np.repeat(np.arange(1000), 3)) > 2700


def test_under_the_null_one_study_in_twenty_is_rejected():
    rng = np.random.default_rng(11)
    p_values = []
    for _ in range(1500):
        differences, clusters = study(rng, tasks=60)
        p_values.append(
            statistics.sign_flip_p_value(statistics.cluster_sums(differences, clusters).totals[:, 0])
        )
    assert 0.03 < np.mean(np.array(p_values) < 0.05) < 0.065


def test_with_repeated_seeds_only_the_test_by_task_keeps_its_promise():
    rng = np.random.default_rng(12)
    by_pair, by_task = [], []
    for _ in range(600):
        differences, clusters = study(rng, tasks=60, seeds=1)
        differences, clusters = np.repeat(differences, 3, axis=0), np.repeat(clusters, 3)
        by_pair.append(statistics.mcnemar_exact(int((differences > 0).sum()), int((differences < 0).sum())))
        by_task.append(
            statistics.sign_flip_p_value(statistics.cluster_sums(differences, clusters).totals[:, 0])
        )
    assert np.mean(np.array(by_task) < 0.05) < 0.065
    assert np.mean(np.array(by_pair) < 0.05) > 0.15


def test_the_interval_covers_the_truth_and_finds_an_effect():
    rng = np.random.default_rng(13)
    difficulty = np.random.default_rng(99).normal(0, 1.5, 400_000)
    truth = float(np.mean(1 / (1 + np.exp(-(difficulty + 0.8))) - 1 / (1 + np.exp(-difficulty))))
    covered, rejected, runs = 0, 0, 400
    for _ in range(runs):
        sums = statistics.cluster_sums(*study(rng, tasks=80, effect=0.8))
        low, high = statistics.bootstrap_intervals(sums, resamples=1000)[0]
        covered += low <= truth <= high
        rejected += statistics.sign_flip_p_value(sums.totals[:, 0]) < 0.05
    assert 0.92 <= covered / runs <= 0.98
    assert rejected / runs > 0.9


def test_the_planned_number_of_pairs_finds_the_planned_difference():
    difference, discordance = 0.1, 0.3
    n = statistics.pairs_needed(difference, discordance)
    rng = np.random.default_rng(4)
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    wins = rng.multinomial(n, shares, size=2000)
    found = np.mean([statistics.mcnemar_exact(a, b) < 0.05 for a, b, _ in wins])
    assert 0.75 < found < 0.84
    assert statistics.pairs_needed(difference, discordance, design_effect=2) == pytest.approx(2 * n, abs=1)


def test_the_detectable_difference_undoes_the_planner():
    n = statistics.pairs_needed(0.08, 0.25)
    assert statistics.detectable_difference(n, 0.25) == pytest.approx(0.08, abs=0.001)
    assert statistics.detectable_difference(3, 0.25) is None
    with pytest.raises(ValueError, match="discordance"):
        statistics.pairs_needed(0.4, 0.2)
