"""The doctor: what it reads from the machine, and how it says what is missing."""

import json
from collections import namedtuple
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from distill import cli, doctor, doctor_packages
from distill.doctor import Finding, cpu_limit, gpu_names, memory_limit
from distill.doctor_deep import deep_checks, try_python
from distill.doctor_packages import Group, check, requirements

NEEDED = Group(name="train", why="training students", needed=True)
OPTION = Group(name="openai", why="endpoints", needed=False)
Usage = namedtuple("Usage", "total used free")


def finding(findings: list[Finding], name: str) -> Finding:
    return next(f for f in findings if f.name == name)


def examine(tmp_path: Path, games: Path | None = None) -> list[Finding]:
    return doctor.examine(out=tmp_path / "runs", games=games, deep=False)


def test_container_limits_are_read_in_both_forms(tmp_path: Path):
    assert cpu_limit(tmp_path) is None and memory_limit(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "memory").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert cpu_limit(tmp_path) is None and memory_limit(tmp_path) is None
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "memory/memory.limit_in_bytes").write_text("4096\n")
    assert cpu_limit(tmp_path) == 1.5 and memory_limit(tmp_path) == 4096
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert cpu_limit(tmp_path) is None and memory_limit(tmp_path) is None
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1024\n")
    assert cpu_limit(tmp_path) == 0.5 and memory_limit(tmp_path) == 1024


def test_little_memory_and_few_cores_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "memory_limit", lambda: 3 * doctor.GB)
    monkeypatch.setattr(doctor, "cpu_limit", lambda: 0.5)
    findings = examine(tmp_path)
    memory = finding(findings, "memory")
    assert memory.state == "missing" and "held to 3.0 GB by the container" in memory.found and memory.mend
    processor = finding(findings, "processor")
    assert processor.state == "advice" and "held to 0.5 by the container" in processor.found


@pytest.mark.parametrize("free_gb, state", [(1, "missing"), (5, "advice"), (50, "ok")])
def test_disk_space_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: int, state: str):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage(0, 0, free_gb * doctor.GB))
    assert finding(examine(tmp_path), "disk").state == state


def test_gpus_are_read_without_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    assert gpu_names(tmp_path) == []
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA H100\nIRQ: 7\n")
    assert gpu_names(tmp_path) == ["NVIDIA H100"]


@pytest.mark.parametrize("value, state", [(None, "ok"), ("1", "ok"), ("4096", "advice"), ("many", "advice")])
def test_more_threads_than_cores_are_advised_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, state: str
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    found = finding(examine(tmp_path), "OMP_NUM_THREADS")
    assert found.state == state and (state == "ok" or found.mend == "unset OMP_NUM_THREADS")


@pytest.mark.parametrize(
    "wanted, installed, group, state",
    [
        ("torch==2.13.0", "2.13.0+cpu", NEEDED, "ok"),
        ("torch==2.13.0", "2.12.0", NEEDED, "missing"),
        ("peft>=0.21,<0.22", None, NEEDED, "missing"),
        ("openai>=3,<4", None, OPTION, "advice"),
        ("anything", "0.0.1", NEEDED, "ok"),
        ("thing>=2", "2.1.dev3", NEEDED, "ok"),
    ],
)
def test_package_is_held_against_what_the_extra_wants(
    wanted: str, installed: str | None, group: Group, state: str
):
    found = check(Requirement(wanted), group, installed)
    assert found.state == state
    if state != "ok":
        assert group.why in found.found and found.mend and (installed or "not installed") in found.found


def test_requirements_cover_every_extra_that_the_doctor_asks_for():
    wanted = requirements()
    for has_gpu in (True, False):
        assert all(wanted[group.name] for group in doctor_packages.groups(has_gpu))
    assert "pydantic" in [r.name for r in wanted[""]] and "vllm" in [r.name for r in wanted["gpu"]]


def test_cuda_builds_beside_a_cpu_torch_are_named(monkeypatch: pytest.MonkeyPatch):
    versions = {"torch": "2.13.0+cpu", "torchvision": "0.28.0", "torchaudio": "2.13.0+cpu"}
    monkeypatch.setattr(doctor_packages, "_installed", versions.get)
    found = finding(list(doctor_packages.packages()), "torch build")
    assert found.state == "missing" and found.mend == "pip uninstall -y torchvision"


def test_missing_package_fails_and_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real = doctor_packages._installed
    monkeypatch.setattr(doctor_packages, "_installed", lambda name: None if name == "peft" else real(name))
    assert cli.main(["doctor", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "not installed, wants" in shown and "\n  make venv\n" in shown


def test_json_tells_the_same_as_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code = cli.main(["doctor", "--json", "--out", str(tmp_path)])
    document = json.loads(capsys.readouterr().out)
    missing = [f for f in document["findings"] if f["state"] == "missing"]
    assert document["ok"] is (not missing) and code == (1 if missing else 0)
    assert all(f["mend"] for f in missing)
    assert {"python", "processor", "memory", "disk", "gcc", "gpu", "pocket model", "pyarrow"} <= {
        f["name"] for f in document["findings"]
    }


def test_sound_packages_are_one_line_unless_all_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    cli.main(["doctor", "--out", str(tmp_path)])
    short = capsys.readouterr().out
    cli.main(["doctor", "--all", "--out", str(tmp_path)])
    long = capsys.readouterr().out
    assert "as wanted (--all lists them)" in short and "pyarrow" not in short and "pyarrow" in long


def test_games_are_checked_where_they_are_named(tmp_path: Path):
    assert finding(examine(tmp_path), "ALFWorld games").state == "ok"
    absent = finding(examine(tmp_path, tmp_path / "none"), "ALFWorld games")
    assert absent.state == "missing" and "offbook data fetch alfworld --out" in absent.mend


def test_games_of_a_study_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    study = tmp_path / "study.toml"
    study.write_text(
        f'name = "s"\nenv = {{ name = "alfworld", games = "{tmp_path}/none" }}\n'
        'model = { kind = "scripted" }\nwriter = { kind = "diagnostician" }\n'
    )
    assert cli.main(["doctor", "--json", "--out", str(tmp_path), "--study", str(study)]) == 1
    games = next(f for f in json.loads(capsys.readouterr().out)["findings"] if f["name"] == "ALFWorld games")
    assert games["state"] == "missing" and f"{tmp_path}/none" in games["found"]


def test_lacking_model_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("actors.models.resolve_model", lambda _: str(tmp_path))
    found = finding(examine(tmp_path), "pocket model")
    assert found.state == "missing" and found.found.endswith(
        "lacks model.safetensors, tokenizer.json, tokenizer_config.json"
    )


def test_process_of_its_own_is_judged_by_how_it_ends():
    assert try_python("fine", "pass", mend="m").state == "ok"
    failed = try_python("fails", "raise ValueError('no luck')", mend="m")
    assert (failed.state, failed.found, failed.mend) == ("missing", "ValueError: no luck", "m")
    assert (
        "not done after 0.2 s"
        in try_python("slow", "import time; time.sleep(9)", mend="m", timeout_s=0.2).found
    )


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.vllm
def test_deep_checks_import_the_heavy_packages_and_start_ray():
    findings = list(deep_checks())
    assert [f.name for f in findings] == ["import vllm", "import peft", "import deepspeed", "start Ray"]
    assert [f.found for f in findings if f.state != "ok"] == []
