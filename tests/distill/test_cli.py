"""The command line: verbs, exit codes, one-line errors."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.chat import GenerateError
from distill import cli
from distill.commands.play import choose_task
from envs.base import EnvError
from envs.panel import PanelMismatchError
from envs.task import Task

ROOT = Path(__file__).resolve().parents[2]
VERBS = ("run", "plan", "report", "hints", "doctor", "data", "play", "panel", "config")


def offbook(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "distill.cli", *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(
        """
        name = "tiny"
        env = { name = "scripted" }
        model = { kind = "scripted" }
        writer = { kind = "diagnostician" }
        tasks = { train = 6, test = 4 }
        """
    )
    return path


def test_help_answers_in_half_a_second_and_lists_every_verb():
    def timed() -> tuple[float, float]:
        start, cpu = time.perf_counter(), _cpu_of_children()
        ended = offbook("--help")
        assert ended.returncode == 0 and all(f"\n    {verb}" in ended.stdout for verb in VERBS)
        return time.perf_counter() - start, _cpu_of_children() - cpu

    wall, cpu = map(min, zip(*(timed() for _ in range(5)), strict=True))
    # On a machine that is busy with something else only the time on the processor tells.
    assert wall < 0.5 or cpu < 0.25


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_parser_imports_nothing_heavy():
    heavy = "{'ray', 'pydantic', 'rich', 'pyarrow', 'numpy', 'torch', 'vllm', 'textworld', 'packaging', 'asyncio'}"
    code = f"import sys; from distill.cli import build_parser; build_parser(); print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ended.stdout.strip() == "[]"


def test_version_is_the_projects(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert (
        ended.value.code == 0
        and f'version = "{capsys.readouterr().out.split()[1]}"' in (ROOT / "pyproject.toml").read_text()
    )


def test_no_verb_shows_help_and_is_bad_input(capsys: pytest.CaptureFixture[str]):
    assert cli.main([]) == 2
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["fly"], ["run"], ["data"], ["data", "verify", "tetris", "x"], ["plan", "x", "--frob"]]
)
def test_malformed_command_line_is_bad_input(arguments: list[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2


def test_config_validate_and_show_agree_on_the_hash(study: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["config", "validate", str(study), "--set", "seeds=[4,5]"]) == 0
    digest = capsys.readouterr().out.split()[-1]
    assert cli.main(["config", "show", str(study), "--set", "seeds=[4,5]"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"# hash {digest}\n") and "seeds = [4, 5]" in shown
    again = study.with_name("again.toml")
    again.write_text(shown)
    assert cli.main(["config", "show", str(again), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == [4, 5]
    assert cli.main(["config", "validate", str(again)]) == 0
    assert digest in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (
            ["--set", "tasks.trian=3"],
            "--set tasks.trian=3: unknown key 'tasks.trian'; did you mean 'tasks.train'?",
        ),
        (["--set", "model.kind=vlm"], "did you mean 'vllm'?"),
        (["--set", "model.skil=1"], "did you mean 'model.skill'?"),
        (["--set", "seeds=[1,1]"], "seeds must be one or more different numbers, got [1, 1]"),
        (["--set", "arms=['teacher']"], "arms must hold 'base'"),
    ],
)
def test_bad_settings_are_one_line_and_exit_2(
    study: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["config", "validate", str(study), *arguments]) == 2
    shown = capsys.readouterr()
    assert expected in shown.err and shown.err.count("\n") == 1 and shown.out == ""


def test_debug_keeps_the_traceback(study: Path):
    for arguments in (
        ["--debug", "config", "validate", str(study)],
        ["config", "validate", str(study), "--debug"],
    ):
        with pytest.raises(ValueError, match="unknown key"):
            cli.main([*arguments, "--set", "no=1"])


def test_unknown_study_names_those_that_ship(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["config", "validate", "dmo"]) == 2
    assert "did you mean 'demo'?" in capsys.readouterr().err
    assert cli.main(["config", "validate", "no/such.toml"]) == 2
    assert "there is no file no/such.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", sorted((ROOT / "distill" / "studies").glob("*.toml")), ids=lambda path: path.stem
)
def test_every_shipped_study_is_valid(path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["config", "validate", path.stem]) == 0, capsys.readouterr().err


def test_errors_a_user_can_mend_become_one_line():
    for error in (EnvError("a"), GenerateError("a"), PanelMismatchError("a"), ValueError("a")):
        assert cli.expected_message(error) == "a"
    assert (
        cli.expected_message(FileNotFoundError(2, "No such file or directory", "x.xz"))
        == "No such file or directory: x.xz"
    )
    assert "offbook doctor" in str(cli.expected_message(ModuleNotFoundError("no vllm", name="vllm")))


def test_errors_nobody_foresaw_are_not_swallowed():
    for error in (RuntimeError("a"), KeyError("a"), ModuleNotFoundError("x", name="distill.gone")):
        assert cli.expected_message(error) is None


def test_worker_error_shows_its_cause():
    class WrappedError(RuntimeError):
        cause = EnvError("the game is gone")

    assert cli.expected_message(WrappedError("a traceback\nof many lines")) == "the game is gone"


def test_interrupt_is_quiet(study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("distill.settings.load_settings", interrupt)
    assert cli.main(["config", "validate", str(study)]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_reader_that_leaves_is_no_error():
    ended = subprocess.run(
        f"{sys.executable} -m distill.cli config show demo | head -1",
        shell=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ended.stdout.startswith("# hash") and ended.stderr == ""


def tasks(*ids: str) -> list[Task]:
    return [Task(env="e", split="test", id=name, kind="k", goal="g") for name in ids]


def test_task_is_chosen_by_a_part_of_its_id_that_fits_one():
    some = tasks("a/apple-1", "a/apple-12", "b/pan-3")
    assert choose_task(some, "pan", 0).id == "b/pan-3"
    assert choose_task(some, "a/apple-1", 0).id == "a/apple-1"
    assert choose_task(some, "e/b/pan-3", 0).id == "b/pan-3"
    with pytest.raises(ValueError, match="fits 2 tasks"):
        choose_task(some, "apple", 0)
    with pytest.raises(ValueError, match="the nearest is b/pan-3"):
        choose_task(some, "b/pan-4", 0)
    with pytest.raises(ValueError, match="no task to play"):
        choose_task([], None, 0)


def test_task_is_drawn_by_seed():
    some = tasks(*(f"t{i}" for i in range(50)))
    assert choose_task(some, None, 1) == choose_task(some, None, 1)
    assert len({choose_task(some, None, seed).id for seed in range(10)}) > 3
