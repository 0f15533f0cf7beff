"""`offbook plan`, `run` and `report`, with the pipeline replaced: what it does is tested elsewhere."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from distill import cli
from distill.atomic import write_atomically
from distill.config import StudyConfig
from distill.results import build_results, results_text
from distill.stages import StageError, StageStatus

STUDY = """
name = "tiny"
env = { name = "scripted" }
model = { kind = "scripted" }
writer = { kind = "diagnostician" }
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def finished(tmp_path: Path, panel_of: Callable, arms_of: Callable) -> Path:
    panel = panel_of(12)
    results = build_results("tiny", panel, arms_of(panel), resamples=200)
    run_dir = tmp_path / "runs" / "tiny"
    write_atomically(run_dir / "report" / "results.json", results_text(results))
    (run_dir / "report" / "report.html").write_text("<p>")
    (run_dir / "run.json").write_text("{}")
    return run_dir


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("distill.pipeline")
    monkeypatch.setitem(sys.modules, "distill.pipeline", module)
    return module


def test_plan_shows_every_stage_and_counts_states(
    study: Path, tmp_path: Path, pipeline: ModuleType, capsys: pytest.CaptureFixture[str]
):
    asked = []

    def plan_study(config: StudyConfig, out: Path) -> list[StageStatus]:
        asked.append((config.seeds, out))
        return [
            StageStatus(name="train-base", key="0123456789abcdef", state="cached", note="480 episodes"),
            StageStatus(name="hints", key="fedcba9876543210", state="partial"),
            StageStatus(
                name="train-teacher", key="1111111111111111", state="to do", note="480 episodes [estimated]"
            ),
            StageStatus(name="rows-distill", key="2222222222222222", state="to do"),
        ]

    pipeline.plan_study = plan_study  # type: ignore[attr-defined]
    arguments = ["plan", str(study), "--set", "seeds=[7]", "--out", str(tmp_path / "o")]
    assert cli.main(arguments) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert asked == [((7,), tmp_path / "o")]
    assert lines[1] == ["train-base", "0123456789abcdef", "cached", "480", "episodes"]
    assert lines[3][-1] == "[estimated]"
    assert " ".join(lines[-1]) == "1 cached, 1 partial, 2 to do"
    assert cli.main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["study"] == "tiny" and [s["state"] for s in document["stages"]].count("to do") == 2


def test_run_prints_the_table_and_where_the_page_is(
    study: Path, finished: Path, pipeline: ModuleType, capsys: pytest.CaptureFixture[str]
):
    def run_study(config: StudyConfig, out: Path, *, address: str | None = None, beside: object = ()) -> Path:
        assert (config.name, out, address) == ("tiny", finished.parent, None)
        return finished

    pipeline.run_study = run_study  # type: ignore[attr-defined]
    assert cli.main(["run", str(study), "--out", str(finished.parent)]) == 0
    shown = capsys.readouterr().out
    assert all(arm in shown for arm in ("base", "teacher_random", "best_of_2"))
    assert shown.rstrip().endswith(str(finished / "report" / "report.html"))
    assert cli.main(["run", str(study), "--out", str(finished.parent), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"] == "tiny"


def test_failing_stage_is_one_line(study: Path, pipeline: ModuleType, capsys: pytest.CaptureFixture[str]):
    def run_study(*_: object, **__: object) -> Path:
        raise StageError("the bank is empty; nothing failed")

    pipeline.run_study = run_study  # type: ignore[attr-defined]
    assert cli.main(["run", str(study)]) == 2
    assert capsys.readouterr().err == "offbook: the bank is empty; nothing failed\n"


def test_report_prints_what_run_printed(finished: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["report", str(finished)]) == 0
    table = capsys.readouterr().out
    assert "distill" in table and str(finished / "report" / "report.html") in table and "\x1b" not in table
    assert cli.main(["report", str(finished), "--json"]) == 0
    assert capsys.readouterr().out == (finished / "report" / "results.json").read_text()


def test_report_of_no_unfinished_or_damaged_run_says_which(
    finished: Path, capsys: pytest.CaptureFixture[str]
):
    def error(run_dir: Path) -> str:
        assert cli.main(["report", str(run_dir)]) == 2
        return capsys.readouterr().err

    assert f"is no run: it holds no run.json; runs here: {finished}" in error(finished.parent)
    assert "is no run" in error(finished / "nothing")
    (finished / "report" / "results.json").write_text("{")
    assert "results.json is damaged" in error(finished)
    (finished / "report" / "results.json").unlink()
    assert "is not finished" in error(finished)


def beside(tmp_path: Path, others: str, other: str = "") -> Path:
    path = tmp_path / "first.toml"
    path.write_text(f"beside = {others}\n" + STUDY.replace("tiny", "first"))
    (tmp_path / "second.toml").write_text(f"{other}\n" + STUDY.replace("tiny", "second"))
    return path


def test_a_study_beside_another_runs_with_it_and_both_tables_are_shown(
    tmp_path: Path,
    pipeline: ModuleType,
    panel_of: Callable,
    arms_of: Callable,
    capsys: pytest.CaptureFixture[str],
):
    ran = []

    def run_study(config: StudyConfig, out: Path, *, address: str | None, beside: list[StudyConfig]) -> Path:
        ran.append([config.name, *(other.name for other in beside)])
        panel = panel_of(12)
        for name in ran[-1]:
            results = build_results(name, panel, arms_of(panel), resamples=200)
            write_atomically(out / name / "report" / "results.json", results_text(results))
        return out / config.name

    pipeline.run_study = run_study
    study = beside(tmp_path, '["second.toml"]')
    assert cli.main(["run", str(study), "--out", str(tmp_path / "runs")]) == 0
    assert ran == [["first", "second"]]
    shown = capsys.readouterr().out
    assert shown.index("second") < shown.index("first")


@pytest.mark.parametrize(
    ("others", "other", "message"),
    [
        ('["second.toml"]', 'beside = ["demo"]', "set its beside = []"),
        ('["second.toml", "second.toml"]', "", "need different names"),
        ('["nowhere"]', "", "no study of that name"),
    ],
)
def test_studies_that_cannot_stand_beside_one_another_are_refused(
    others: str,
    other: str,
    message: str,
    tmp_path: Path,
    pipeline: ModuleType,
    capsys: pytest.CaptureFixture[str],
):
    pipeline.run_study = None
    assert cli.main(["run", str(beside(tmp_path, others, other)), "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
