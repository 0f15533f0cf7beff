"""A person at the terminal, played by a list of lines."""

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from distill.play import Played, play
from envs.base import StepResult
from envs.task import Task

ROOT = Path(__file__).resolve().parents[2]
TASK = Task(env="lamp", split="test", id="room/1", kind="look", goal="switch on the [red] lamp.")
DARK = ("look", "press switch", "wait")


class LampRoom:
    """Dark until the switch is pressed; `blow up` ends the episode without success."""

    closed = False

    def reset(self, task: Task, *, seed: int) -> StepResult:
        return StepResult(
            observation="It is dark. [bold]Not markup[/bold].",
            score=0.0,
            success=False,
            done=False,
            admissible=DARK,
        )

    def step(self, action: str) -> StepResult:
        if action in ("press switch", "push switch"):
            executed = "press switch" if action == "push switch" else None
            return StepResult(observation="Light!", score=1.0, success=True, done=True, executed=executed)
        if action == "blow up":
            return StepResult(observation="Bang.", score=0.25, success=False, done=True)
        known = action in DARK
        text = "Still dark." if known else "Nothing happens."
        return StepResult(
            observation=text, score=0.0, success=False, done=False, admissible=DARK, valid=known
        )

    def close(self) -> None:
        self.closed = True


def played(lines: Sequence[str | BaseException]) -> tuple[Played, str]:
    waiting = list(lines)

    def ask(prompt: str) -> str:
        line = waiting.pop(0)
        if isinstance(line, BaseException):
            raise line
        return line

    screen = io.StringIO()
    outcome = play(LampRoom(), TASK, ask, Console(file=screen, width=200, highlight=False, markup=False))
    assert waiting == [], "the game ended before the person had said everything"
    return outcome, screen.getvalue()


def test_solving_shows_goal_observations_and_the_end():
    outcome, screen = played(["look", "press switch"])
    assert outcome == Played(num_steps=2, success=True, score=1.0, done=True)
    assert "Your goal: switch on the [red] lamp." in screen and "[bold]Not markup[/bold]" in screen
    assert "Still dark." in screen and "Light!" in screen and "Solved in 2 steps." in screen


def test_question_mark_lists_and_a_number_plays_it():
    outcome, screen = played(["?", "2"])
    assert outcome.success and "   2  press switch" in screen and "> press switch" in screen


def test_question_mark_with_a_word_filters():
    outcome, screen = played(["? SWITCH", "1"])
    assert (
        outcome.success
        and "   1  press switch" in screen
        and "wait" not in screen.split("q          quit")[1]
    )


def test_numbers_of_an_old_list_are_refused():
    outcome, screen = played(["?", "wait", "2", "q"])
    assert outcome.num_steps == 1 and "no number 2 in the last list" in screen


def test_history_shows_actions_with_their_observations():
    _, screen = played(["!", "look", "!", "q"])
    assert "nothing yet" in screen and "   0  look  Still dark." in screen


@pytest.mark.parametrize("leave", ["q", "quit", EOFError(), KeyboardInterrupt()])
def test_leaving_is_quiet(leave: str | BaseException):
    outcome, screen = played(["wait", leave])
    assert (
        outcome == Played(num_steps=1, success=False, score=0.0, done=False)
        and "You left after 1 step;" in screen
    )


def test_the_world_may_end_it_and_a_rewritten_action_is_shown():
    outcome, screen = played(["blow up"])
    assert outcome.done and not outcome.success and "score 0.25" in screen
    assert "(understood as: press switch)" in played(["push switch"])[1]


def test_empty_lines_are_not_steps():
    assert played(["", "   ", "q"])[0].num_steps == 0


def offbook_play(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "distill.cli", "play", *arguments]


def test_without_a_terminal_it_is_plain_and_ends_with_the_input():
    ended = subprocess.run(
        offbook_play("scripted", "--seed", "1"),
        input="?\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert (
        "Your goal:" in ended.stdout
        and "You left after 0 steps" in ended.stdout
        and "\x1b" not in ended.stdout
    )


def test_on_a_terminal_it_has_colours_and_ctrl_c_quits():
    parent, child = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {
        "TERM": "xterm-256color"
    }

    # A session of its own with the terminal in control, so that the key ctrl-C becomes the signal; who runs the tests in the
    # background has it ignored, and children inherit that.
    def on_a_terminal():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.close(os.open(os.ttyname(0), os.O_RDWR))

    process = subprocess.Popen(
        offbook_play("scripted", "--seed", "1"),
        stdin=child, stdout=child, stderr=child, cwd=ROOT, env=environment, start_new_session=True,
        preexec_fn=on_a_terminal,
    )  # fmt: skip
    os.close(child)
    screen = _read_until(parent, "[0] > ")
    os.write(parent, b"\x03")
    screen += _read_until(parent, "You left")
    assert process.wait(timeout=30) == 0
    os.close(parent)
    assert "\x1b[" in screen and "Your goal:" in screen and "You left after 0 steps" in screen


def _read_until(terminal: int, text: str, timeout_s: float = 60) -> str:
    seen, end = "", time.monotonic() + timeout_s
    while text not in seen:
        assert time.monotonic() < end, f"{text!r} did not appear in {seen!r}"
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    return seen
