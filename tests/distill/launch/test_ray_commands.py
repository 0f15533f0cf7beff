"""`offbook cluster up|submit|status|down` are Ray's own commands, and no value of a variable is seen by anybody on the way."""

import io
import os
import stat
from pathlib import Path

import pytest

from distill.cli import main

KEY = "sk-made-up-0123456789"  # pragma: allowlist secret


class RecordingRay:
    """A `ray` that writes down how it was called, and what stood in the file of variables then."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        (folder / "bin").mkdir()
        self.says(0)

    @property
    def variables(self) -> Path:
        return self.home / ".offbook" / "offbook.environment"

    def says(self, code: int) -> None:
        file = self.folder / "bin" / "ray"
        file.write_text(
            f'#!/bin/bash\nprintf "%s\\n" "ray $*" >> "{self.folder}/calls"\n'
            f'if [ -e "{self.variables}" ]; then cp -p "{self.variables}" "{self.folder}/seen"; fi\nexit {code}\n'
        )
        file.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordingRay:
    made = RecordingRay(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return made


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A launcher's file with a file server of somebody's own."""
    spec, file = tmp_path / "mine.toml", tmp_path / "mine.yaml"
    spec.write_text('extends = "clusters/aws.toml"\n[storage]\nnfs = "files.lab:/runs"\n')
    assert main(["cluster", "render", "ray", "--spec", str(spec), "--out", str(file)]) == 0
    return file


def cluster_command(*words: str) -> int:
    return main(["cluster", *words])


def test_up_starts_the_launcher_and_hands_it_the_variables_in_a_file_of_ones_own(
    ray: RecordingRay, cluster: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cluster_command("up", "--cluster", str(cluster)) == 0
    assert ray.calls == [f"ray up --yes {cluster}"]
    seen = tmp_path / "seen"
    assert seen.read_text() == f"OPENAI_API_KEY={KEY}\n"
    assert stat.S_IMODE(seen.stat().st_mode) == 0o600
    assert not ray.variables.exists()
    out, err = capfd.readouterr()
    assert "not on the nodes: HF_TOKEN" in err
    assert KEY not in out + err


def test_a_value_that_a_shell_would_read_arrives_as_it_is(
    ray: RecordingRay, cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    odd = "a b$HOME'\"`x`"
    monkeypatch.setenv("OPENAI_API_KEY", odd)
    assert cluster_command("up", "--cluster", str(cluster)) == 0
    script = f'set -a; . "{tmp_path / "seen"}"; set +a; printf %s "$OPENAI_API_KEY"'
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout == odd


def test_the_file_of_variables_is_gone_when_the_launcher_failed_too(ray: RecordingRay, cluster: Path) -> None:
    ray.says(7)
    assert cluster_command("up", "--cluster", str(cluster)) == 2
    assert ray.calls
    assert not ray.variables.exists()


def test_submit_copies_study_and_variables_and_starts_it_on_the_head(
    ray: RecordingRay, cluster: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        cluster_command(
            "submit", "paper-14b", "--set", "name=mine", "--set", "beside=[]", "--cluster", str(cluster)
        )
        == 0
    )
    folder, variables, files, run = ray.calls
    assert folder == f"ray exec {cluster} mkdir -p /home/ray/runs/studies"
    assert variables == f"ray rsync-up {cluster} {ray.variables} /home/ray/.offbook/environment"
    assert (
        files == f"ray rsync-up {cluster} {ray.home}/.offbook/studies/offbook/mine/ /home/ray/runs/studies/"
    )
    assert run.startswith(f"ray exec --tmux {cluster} set -a; . /home/ray/.offbook/environment; set +a; ")
    assert "offbook run /home/ray/runs/studies/mine.toml --address auto --out /home/ray/runs" in run
    text = (ray.home / ".offbook/studies/offbook/mine/mine.toml").read_text()
    assert 'device = "cuda"' in text
    out, err = capfd.readouterr()
    assert KEY not in "".join(ray.calls) + text + out + err
    assert not ray.variables.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "writer.api_key_env=LAB_KEY"], "hands to no node; add it to environment"),
        (["--set", "model.replicas=99"], "wants 99 engines"),
    ],
)
def test_a_study_that_would_fail_there_is_not_submitted(
    words: list[str], message: str, ray: RecordingRay, cluster: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cluster_command("submit", "paper-14b", *words, "--cluster", str(cluster)) == 2
    assert message in capfd.readouterr().err
    assert not ray.calls


def test_a_key_that_the_study_needs_and_that_is_not_set_is_named(
    ray: RecordingRay, cluster: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert cluster_command("submit", "paper-14b", "--cluster", str(cluster)) == 2
    assert "OPENAI_API_KEY, which is not set here" in capfd.readouterr().err
    assert not ray.calls


def test_status_asks_the_head(ray: RecordingRay, cluster: Path) -> None:
    assert cluster_command("status", "--cluster", str(cluster)) == 0
    assert ray.calls == [f"ray exec {cluster} ray status"]


@pytest.mark.parametrize(("answer", "code", "ended"), [("y\n", 0, True), ("\n", 1, False), ("", 1, False)])
def test_down_asks_first(
    answer: str, code: int, ended: bool, ray: RecordingRay, cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert cluster_command("down", "--cluster", str(cluster)) == code
    assert ray.calls == ([f"ray down --yes {cluster}"] if ended else [])


def test_down_may_be_told_that_one_is_sure(ray: RecordingRay, cluster: Path) -> None:
    assert cluster_command("down", "--yes", "--cluster", str(cluster)) == 0
    assert ray.calls == [f"ray down --yes {cluster}"]


@pytest.mark.parametrize("words", [["up"], ["submit", "demo"], ["status"], ["down"]])
def test_a_dry_run_prints_commands_for_a_shell_and_does_nothing(
    words: list[str], ray: RecordingRay, cluster: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert cluster_command(*words, "--dry-run", "--cluster", str(cluster)) == 0
    out, _ = capfd.readouterr()
    assert all(line.startswith("ray ") for line in out.splitlines())
    assert KEY not in out
    assert not ray.calls
    assert not (ray.home / ".offbook").exists()


def test_the_shipped_examples_file_server_is_not_started_with(
    ray: RecordingRay, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cluster_command("up", "--cluster", str(repository / "ray_cluster.yaml")) == 2
    assert "still mounts the example's file server" in capfd.readouterr().err
    assert not ray.calls


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "write it with `offbook cluster render ray --out"),
        ("a: [", "is no file of Ray's launcher"),
        ("a: 1", "is no file of Ray's launcher"),
    ],
)
def test_a_file_that_is_none_is_refused(
    text: str | None, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cluster.yaml"
    if text is not None:
        file.write_text(text)
    assert cluster_command("status", "--cluster", str(file)) == 2
    assert message in capfd.readouterr().err
