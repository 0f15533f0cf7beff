"""`metrics.jsonl`: every stage, evaluation and training step once, whatever was killed in between."""

import json
import multiprocessing
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from finished_studies import STEPS, FinishedRun, small_study

from distill.run_metrics import METRICS, append_metrics, identity, read_metrics


@pytest.fixture
def run(tmp_path, panel_of, arms_of):
    return FinishedRun(tmp_path, small_study(), panel_of(12), arms_of)


def append(run):
    return append_metrics(run.run_dir, run.plan.stages, run.plan, run.store)


def test_every_stage_evaluation_and_step_has_one_line(run):
    run.finish_all()
    written = append(run)
    lines = read_metrics(run.run_dir)
    assert len(lines) == written == len({identity(line) for line in lines})
    counted = Counter(line["event"] for line in lines)
    assert counted == {"stage": len(run.plan.stages), "evaluation": 8, "train": 4 * STEPS}
    (one,) = [x for x in lines if (x["event"], x.get("arm"), x.get("seed")) == ("evaluation", "teacher", 1)]
    own = [t for t in run.arms["teacher"] if t.seed == 1]
    assert one["success_rate"] == pytest.approx(sum(t.success for t in own) / len(own))
    assert (one["episodes"], one["errors"], one["hints"]) == (12, 0, 1.0)
    steps = [x for x in lines if x["stage"] == "fit-distill-s1" and x["event"] == "train"]
    assert [(x["step"], x["loss"], x["arm"], x["seed"]) for x in steps][:2] == [
        (0, 1.0, "distill", 1),
        (1, 0.5, "distill", 1),
    ]
    (fit,) = [x for x in lines if x["stage"] == "fit-distill-s1" and x["event"] == "stage"]
    assert (fit["kind"], fit["seconds"], fit["tokens"]) == ("fit", 1.5, 90)


def test_only_what_is_new_is_appended_and_old_bytes_stay(run):
    run.finish(run.plan.tasks)
    assert append(run) == 1
    before = (run.run_dir / METRICS).read_bytes()
    run.finish_all()
    assert append(run) > 1
    assert (run.run_dir / METRICS).read_bytes().startswith(before)
    whole = (run.run_dir / METRICS).read_bytes()
    assert append(run) == 0 and (run.run_dir / METRICS).read_bytes() == whole


@pytest.mark.parametrize("kept", [0.1, 0.35, 0.5, 0.77, 0.99])
def test_a_file_that_was_cut_anywhere_ends_up_with_the_same_lines(run, kept):
    run.finish_all()
    append(run)
    path = run.run_dir / METRICS
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert len(read_metrics(run.run_dir)) <= whole.count(b"\n")
    append(run)
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_another_setting_adds_its_lines_and_keeps_the_old_ones(run, tmp_path, panel_of, arms_of):
    run.finish_all()
    first = append(run)
    other = FinishedRun(tmp_path, small_study(retriever={"k": 1}), panel_of(12), arms_of)
    for stage in other.plan.stages:
        if not other.store.is_done(stage):
            other.finish(stage)
    second = append(other)
    lines = read_metrics(run.run_dir)
    assert 0 < second < first and len(lines) == first + second == len({identity(x) for x in lines})


def test_a_loss_that_is_no_number_is_null(run):
    fit = run.plan.fits["distill", 0]
    with run.store.working(fit) as folder:
        (folder / "metrics.jsonl").write_text('{"step": 0, "loss": NaN}\n{"step": 1, "loss": Infinity}\n')
        run.store.finish(fit, {"loss": float("nan")}, 1.0)
    append(run)
    text = (run.run_dir / METRICS).read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert [line["loss"] for line in read_metrics(run.run_dir)] == [None, None, None]


def test_an_evaluation_of_errors_alone_has_counts_and_no_rate(run, panel_of):
    from dataclasses import replace

    run.arms["base"] = [replace(t, end="error") for t in run.arms["base"]]
    run.finish(run.plan.tasks)
    run.finish(run.plan.evaluations["base", 0])
    append(run)
    (line,) = [x for x in read_metrics(run.run_dir) if x["event"] == "evaluation"]
    assert line["errors"] == 12 and "success_rate" not in line


def test_processes_that_append_at_once_write_nothing_twice(run):
    run.finish_all()
    started = [multiprocessing.get_context("fork").Process(target=append, args=(run,)) for _ in range(4)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    lines = read_metrics(run.run_dir)
    assert len(lines) == len({identity(line) for line in lines}) == len(run.plan.stages) + 8 + 4 * STEPS


def test_a_missing_or_damaged_file_says_what_to_do(run):
    with pytest.raises(ValueError, match=r"has no metrics\.jsonl"):
        read_metrics(run.run_dir)
    (run.run_dir / METRICS).write_text(json.dumps({"event": "stage"})[:-3] + "\n")
    with pytest.raises(ValueError, match=r"is damaged .* delete it"):
        read_metrics(run.run_dir)
    with pytest.raises(ValueError, match=r"is damaged .* delete it"):
        append(run)
