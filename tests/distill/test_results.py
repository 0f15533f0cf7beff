"""results.json: its keys, its figures counted by hand, and what it refuses."""

import json
import time
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, to_row
from distill import statistics
from distill.atomic import write_atomically
from distill.episode_columns import EpisodeMismatchError, load_trajectories, read_episodes
from distill.results import STANDARD_COMPARISONS, build_results, results_text, verdict
from envs.panel import PanelMismatchError

ARM_KEYS = ["name", "env", "agent", "model", "adapter", "n", "success_rate", "success_ci95", "score", "steps"]
ARM_KEYS += ["prompt_tokens", "cached_tokens", "completion_tokens", "errors"]
COMPARISON_KEYS = ["a", "b", "metric", "delta", "ci95", "p_value", "n_pairs"]


def write(trajectories, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([to_row(t) for t in trajectories], schema=TRAJECTORY_SCHEMA), path)
    return path


def comparison(results, a, b, metric="success"):
    (row,) = [r for r in results["comparisons"] if (r["a"], r["b"], r["metric"]) == (a, b, metric)]
    return row


def test_document_has_the_promised_keys_and_survives_json(panel_of, arms_of, tmp_path):
    panel = panel_of()
    training = [{"arm": "distill", "rows": 12}]
    results = build_results("demo", panel, arms_of(panel), training=training, versions={"offbook": "0.1.0"})
    assert {"study", "panel", "arms", "comparisons", "training", "versions"} <= results.keys()
    assert {k: results["panel"][k] for k in ("name", "sha256", "num_tasks")} == {
        "name": "small/test",
        "sha256": panel.sha256,
        "num_tasks": 40,
    }
    assert [arm["name"] for arm in results["arms"]] == [
        "base",
        "teacher",
        "baseline",
        "distill",
        "teacher_random",
        "best_of_2",
    ]
    assert all(set(ARM_KEYS) <= arm.keys() for arm in results["arms"])
    assert all(set(COMPARISON_KEYS) <= row.keys() for row in results["comparisons"])
    assert {(r["a"], r["b"]) for r in results["comparisons"]} == set(STANDARD_COMPARISONS)
    write_atomically(tmp_path / "report" / "results.json", results_text(results))
    assert json.loads((tmp_path / "report" / "results.json").read_text()) == results
    assert [p.name for p in (tmp_path / "report").iterdir()] == ["results.json"]


def test_figures_of_an_arm_are_those_counted_from_its_records(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel)
    (row,) = [r for r in build_results("demo", panel, arms)["arms"] if r["name"] == "distill"]
    own = arms["distill"]
    assert row["n"] == len(own) == 120
    assert row["success_rate"] == pytest.approx(sum(t.success for t in own) / 120)
    for metric, values in {
        "steps": [t.num_steps for t in own],
        "prompt_tokens": [t.prompt_tokens for t in own],
        "cached_tokens": [t.cached_tokens for t in own],
        "completion_tokens": [t.completion_tokens for t in own],
    }.items():
        assert row[metric] == pytest.approx(sum(values) / 120), metric
    assert row["invalid_rate"] == pytest.approx(
        sum(t.num_invalid for t in own) / sum(len(t.turns) for t in own)
    )
    assert (
        row["adapter"] == "adapters/distill" and row["agent"] == "react-3f2a91" and row["env"] == "alfworld"
    )
    assert sum(kind["n"] for kind in row["kinds"].values()) == 120 and len(row["kinds"]) == 3
    assert row["seeds"] == [0, 1, 2] and row["missing"] == 0


def test_interval_is_wilson_for_one_seed_and_wider_for_seeds_that_agree(panel_of, arms_of):
    panel = panel_of()
    once = arms_of(panel, {"base": 0.4}, seeds=(0,))["base"]
    thrice = [replace(t, seed=seed) for t in once for seed in (0, 1, 2)]
    (single,) = build_results("demo", panel, {"base": once})["arms"]
    (triple,) = build_results("demo", panel, {"base": thrice})["arms"]
    expected = statistics.wilson_interval(sum(t.success for t in once), 40)
    assert single["success_ci95"] == pytest.approx(list(expected))
    assert triple["success_ci95"] == pytest.approx(list(expected)) and triple["n"] == 120


def test_comparison_with_one_seed_is_mcnemar_and_with_several_is_by_task(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel, seeds=(0,))
    row = comparison(build_results("demo", panel, arms), "distill", "base")
    won = {t.task.id: t.success for t in arms["base"]}
    a_only = sum(t.success and not won[t.task.id] for t in arms["distill"])
    b_only = sum(won[t.task.id] and not t.success for t in arms["distill"])
    assert (row["a_only"], row["b_only"], row["test"]) == (a_only, b_only, "mcnemar_exact")
    assert row["p_value"] == pytest.approx(statistics.mcnemar_exact(a_only, b_only)) == row["p_value_mcnemar"]
    assert row["delta"] == pytest.approx((a_only - b_only) / 40)
    assert row["ci95"][0] < row["delta"] < row["ci95"][1]
    many = comparison(build_results("demo", panel, arms_of(panel)), "distill", "base")
    assert many["test"] == "sign_flip_by_task" and many["p_value"] != many["p_value_mcnemar"]
    assert sum(many["delta_by_seed"].values()) / 3 == pytest.approx(many["delta"])
    assert many["delta_by_seed"].keys() == {"0", "1", "2"}
    assert many["n_pairs"] == 120 and many["num_tasks"] == 40


def test_a_clear_effect_is_real_and_none_is_not_told_apart(panel_of, arms_of):
    panel = panel_of(200)
    rates = {"base": 0.3, "teacher": 0.6, "baseline": 0.4, "distill": 0.4}
    results = build_results("demo", panel, arms_of(panel, rates))
    assert comparison(results, "teacher", "base")["verdict"] == "real"
    assert comparison(results, "distill", "baseline")["verdict"] == "not told apart"
    assert (
        comparison(results, "teacher", "base")["p_value_holm"]
        >= comparison(results, "teacher", "base")["p_value"]
    )
    assert 0.01 < comparison(results, "distill", "baseline")["detectable_difference"] < 0.2


def test_verdict_needs_the_interval_and_the_correction():
    row = {"ci95": [0.02, 0.1], "p_value": 0.01, "p_value_holm": 0.03}
    assert verdict(row) == "real"
    assert verdict(row | {"p_value_holm": 0.08}) == "suggestive"
    assert verdict(row | {"ci95": [-0.01, 0.1]}) == "not told apart"


def test_errors_count_apart_and_take_no_part(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel)
    fail = lambda t: replace(t, end=EndReason.ERROR, success=False, error="engine died")  # noqa: E731
    arms["base"] = [fail(t) if i < 5 else t for i, t in enumerate(arms["base"])]
    results = build_results("demo", panel, arms)
    base = results["arms"][0]
    assert (base["errors"], base["n"], base["ends"]["error"]) == (5, 115, 5)
    assert base["success_rate"] == pytest.approx(sum(t.success for t in arms["base"]) / 115)
    assert base["success_rate_errors_as_failures"] < base["success_rate"]
    assert comparison(results, "distill", "base")["n_pairs"] == 115
    assert comparison(results, "distill", "baseline")["n_pairs"] == 120
    assert any("5 episodes ended in an error" in note for note in results["notes"])


def test_arm_of_errors_only_has_no_rate_and_no_comparison(panel_of, arms_of):
    panel = panel_of(4)
    arms = arms_of(panel, {"base": 0.5, "teacher": 0.5})
    arms["teacher"] = [replace(t, end=EndReason.ERROR, error="engine died") for t in arms["teacher"]]
    results = build_results("demo", panel, arms)
    assert results["arms"][1]["success_rate"] is None and results["arms"][1]["n"] == 0
    assert results["comparisons"] == []
    json.dumps(results, allow_nan=False)


def test_only_pairs_that_both_arms_have_are_compared(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel, {"base": 0.3, "teacher": 0.6})
    arms["teacher"] = [t for t in arms["teacher"] if t.seed < 2][10:]
    results = build_results("demo", panel, arms)
    assert comparison(results, "teacher", "base")["n_pairs"] == 70
    assert results["arms"][1]["missing"] == 50
    assert any("same seeds" in note for note in results["notes"])


def test_another_panel_is_refused(panel_of, arms_of):
    panel, larger, other = panel_of(40), panel_of(41), panel_of(40, goal="cool a mug {i}.")
    with pytest.raises(
        PanelMismatchError, match=r"1 tasks that panel small/test .* first alfworld/game-00040"
    ):
        build_results("demo", panel, {"base": arms_of(larger)["base"]})
    with pytest.raises(PanelMismatchError, match="goals differ"):
        build_results("demo", panel, {"base": arms_of(other)["base"]})
    with pytest.raises(PanelMismatchError, match="arm teacher was evaluated on panel"):
        build_results("demo", panel, arms_of(panel), meta={"teacher": {"panel_sha256": larger.sha256}})


def test_two_models_in_an_arm_are_refused(panel_of, arms_of):
    panel = panel_of()
    base = arms_of(panel)["base"]
    base[3] = replace(base[3], model="other")
    with pytest.raises(EpisodeMismatchError, match="arm base mixes models other, pocket"):
        build_results("demo", panel, {"base": base})


def test_a_row_written_twice_counts_once_and_two_outcomes_are_refused(panel_of, arms_of):
    panel = panel_of()
    base = arms_of(panel)["base"]
    results = build_results("demo", panel, {"base": [*base, base[0], base[7]]})
    assert results["arms"][0]["n"] == 120 and "2 rows were written twice" in results["notes"][0]
    with pytest.raises(EpisodeMismatchError, match="alfworld/game-00000 with seed 0 twice"):
        build_results("demo", panel, {"base": [*base, replace(base[0], success=not base[0].success)]})


def test_unknown_arm_in_an_asked_comparison_is_refused(panel_of, arms_of):
    panel = panel_of(4)
    with pytest.raises(ValueError, match="comparison distill - base needs an arm"):
        build_results("demo", panel, {"base": arms_of(panel)["base"]}, comparisons=[("distill", "base")])


def test_parquet_reads_as_the_records_do(panel_of, arms_of, tmp_path):
    panel = panel_of()
    arms = arms_of(panel)
    folder = tmp_path / "base"
    write(arms["base"][:50], folder / "part-0.parquet"), write(arms["base"][50:], folder / "part-1.parquet")
    teacher = write(arms["teacher"], tmp_path / "teacher.parquet")
    from_files = build_results("demo", panel, {"base": folder, "teacher": [teacher]})
    assert from_files == build_results("demo", panel, {"base": arms["base"], "teacher": arms["teacher"]})
    wanted = [arms["base"][70], arms["base"][2]]
    assert load_trajectories(folder, [t.id for t in wanted] + ["absent"]) == wanted
    assert load_trajectories(arms["base"], [t.id for t in wanted]) == wanted


def test_absent_or_foreign_files_are_named(panel_of, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.parquet; run the stage"):
        read_episodes("base", tmp_path / "nowhere.parquet", panel_of())
    schema = pa.schema([("id", pa.string())], metadata={"offbook_record": "hint"})
    pq.write_table(pa.Table.from_pylist([{"id": "x"}], schema=schema), tmp_path / "hints.parquet")
    with pytest.raises(EpisodeMismatchError, match="holds hint records"):
        read_episodes("base", tmp_path / "hints.parquet", panel_of())


def test_many_episodes_are_read_in_seconds(panel_of, trajectory_of, tmp_path):
    panel = panel_of(1000)
    rows = [to_row(trajectory_of(task, seed=0, success=i % 3 == 0)) for i, task in enumerate(panel.tasks)]
    table = pa.Table.from_pylist(rows, schema=TRAJECTORY_SCHEMA)
    seeds = [
        table.set_column(table.schema.get_field_index("seed"), "seed", pa.array([seed] * 1000))
        for seed in range(20)
    ]
    pq.write_table(pa.concat_tables(seeds), tmp_path / "base.parquet")
    started = time.process_time()
    columns = read_episodes("base", tmp_path / "base.parquet", panel)
    assert len(columns) == 20_000 and time.process_time() - started < 5  # 0.3 s on an idle core


def test_arms_that_nothing_tells_apart_share_a_letter(panel_of, arms_of):
    panel = panel_of(200)
    rates = {"base": 0.2, "teacher": 0.6, "baseline": 0.2, "distill": 0.6}
    results = build_results("demo", panel, arms_of(panel, rates, rng_seed=2), resamples=200)
    tied = results["tied"]
    assert [set(group["arms"]) for group in tied["groups"]] == [{"distill", "teacher"}, {"base", "baseline"}]
    assert {row["name"]: row["tied"] for row in results["arms"]} == {
        "base": "b",
        "baseline": "b",
        "teacher": "a",
        "distill": "a",
    }
    p_values = [row["p_value"] for row in tied["pairs"]]
    assert len(p_values) == 6 and statistics.holm(p_values) == [row["p_value_holm"] for row in tied["pairs"]]


def test_tied_arms_agree_with_the_pairwise_tests_that_a_comparison_reports(panel_of, arms_of):
    panel = panel_of()
    results = build_results("demo", panel, arms_of(panel), resamples=200)
    for row in results["tied"]["pairs"]:
        for a, b in ((row["a"], row["b"]), (row["b"], row["a"])):
            if (a, b) in STANDARD_COMPARISONS:
                assert comparison(results, a, b)["p_value"] == row["p_value"]


def test_arms_without_a_common_pair_are_tied_for_want_of_evidence(panel_of, arms_of):
    panel = panel_of()
    arms = arms_of(panel, {"base": 0.01, "teacher": 0.99})
    arms = {
        "base": [t for t in arms["base"] if t.seed == 0],
        "teacher": [t for t in arms["teacher"] if t.seed],
    }
    tied = build_results("demo", panel, arms, resamples=200)["tied"]
    assert [group["arms"] for group in tied["groups"]] == [["teacher", "base"]]
    assert tied["pairs"][0]["n_pairs"] == 0
