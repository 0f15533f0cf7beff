"""What a finished study shows and tells, run through the pipeline on a store in which every stage is done."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from finished_studies import FinishedRun, small_study

from distill.attribution_found import find_attributions
from distill.attribution_run import ATTRIBUTION, attribution_stage
from distill.pipeline import run_attribution, run_study
from distill.run_metrics import METRICS, identity, read_metrics

STATISTICS = {"resamples": 100}


@pytest.fixture
def make_run(tmp_path, panel_of, arms_of):
    def make(**changes):
        config = small_study(statistics=STATISTICS, **changes)
        run = FinishedRun(tmp_path, config, panel_of(12), arms_of)
        for stage in run.plan.stages:
            if not run.store.is_done(stage):
                run.finish(stage)
        return run

    return make


def attribute(run, *, shapley, num_flips=None, arm="teacher"):
    """What `offbook attribute` leaves in the store."""
    stage = attribution_stage(run.config, run.plan, arm, num_flips)
    (hint,) = run.arms["teacher"][0].hints
    credit = {
        "needed": 1.0,
        "enough": 0.5,
        "shapley": shapley,
        "shapley_ci95": [shapley - 0.1, shapley + 0.1],
    }
    own_id = json_of_bank(run)[0]
    flips = {"num_flips": num_flips or 9, "num_unstable": 0, "any_alone": 1.0, "together_only": 0.0}
    document = flips | {
        "hints": [{"id": own_id, "text": hint.text, "num_flips": 9, **credit}],
        "num_broken": 0,
    }
    with run.store.working(stage) as folder:
        (folder / ATTRIBUTION).write_text(json.dumps(document))
        run.store.finish(stage, {"flips": num_flips or 9}, 2.0)
    return stage


def json_of_bank(run):
    from distill.hints.bank import Bank

    return [hint.id for hint in Bank.load(run.store.folder(run.plan.hints) / "bank.parquet").hints]


def page(run):
    return " ".join((run.run_dir / "report" / "report.html").read_text().split())


def test_a_run_keeps_its_metrics_and_writes_them_once(make_run, tmp_path):
    run = make_run()
    for _ in range(2):
        assert run_study(run.config, tmp_path) == run.run_dir
        lines = read_metrics(run.run_dir)
        assert len(lines) == len({identity(line) for line in lines}) == len(run.plan.stages) + 8 + 20
    assert "thick ones their mean" in page(run) and "(2 seeds)" in page(run)


def test_a_study_that_names_a_tracker_tells_it_and_needs_no_new_stage_or_report(make_run, tmp_path):
    run = make_run()
    run_study(run.config, tmp_path)
    before = (run.run_dir / "report" / "made_from").stat().st_mtime_ns
    tracked = small_study(statistics=STATISTICS, tracker={"to": ["tensorboard"]})
    run_study(tracked, tmp_path)
    assert (run.run_dir / "report" / "made_from").stat().st_mtime_ns == before
    files = list((run.run_dir / "tensorboard").glob("events.*"))
    assert len(files) == 1
    run_study(tracked, tmp_path)
    assert list((run.run_dir / "tensorboard").glob("events.*")) == files


def test_credit_comes_onto_the_page_when_it_is_there(make_run, tmp_path):
    run = make_run()
    run_study(run.config, tmp_path)
    assert "offbook attribute runs/small</code>" in page(run)
    attribute(run, shapley=0.25)
    run_study(run.config, tmp_path)
    assert "0.25 <small>(0.15 to 0.35), 9 flips" in page(run) and "offbook attribute" not in page(run)


def test_offbook_attribute_puts_its_credit_onto_the_page_itself(make_run, tmp_path):
    run = make_run()
    run_study(run.config, tmp_path)
    stage = attribute(run, shapley=0.75)
    assert run_attribution(run.config, tmp_path, "teacher") == run.store.folder(stage)
    assert "0.75 <small>(0.65 to 0.85), 9 flips" in page(run)
    assert [line["stage"] for line in read_metrics(run.run_dir)][-1] == "attribution-teacher"
    whole = (run.run_dir / METRICS).read_bytes()
    run_attribution(run.config, tmp_path, "teacher")
    assert (run.run_dir / METRICS).read_bytes() == whole


def test_an_attribution_of_a_study_with_others_beside_it_leaves_their_page_alone(make_run, tmp_path):
    run = make_run(beside=["demo"])
    run_study(run.config, tmp_path)
    attribute(run, shapley=0.75)
    run_attribution(run.config, tmp_path, "teacher")
    assert "0.75 <small>" not in page(run)


def test_the_attribution_with_most_flips_of_these_very_episodes_is_shown(make_run):
    run = make_run()
    assert find_attributions(run.config, run.plan, run.store) == {}
    few, many = attribute(run, shapley=0.1, num_flips=3), attribute(run, shapley=0.2, num_flips=8)
    assert find_attributions(run.config, run.plan, run.store) == {"teacher": run.store.folder(many)}
    other = make_run(retriever={"k": 1})
    assert find_attributions(other.config, other.plan, other.store) == {}
    assert few.key != many.key


def test_a_missing_tracker_package_stops_a_study_before_it_starts(make_run, tmp_path, monkeypatch):
    from distill.tracking.base import TrackerError

    monkeypatch.setattr("distill.tracking.base.find_spec", lambda _: None)
    run = make_run()
    shown = run.run_dir / "report"
    with pytest.raises(TrackerError, match="needs the Python package 'wandb'"):
        run_study(small_study(tracker={"to": ["wandb"]}), tmp_path)
    assert not shown.exists()
