"""A person plays one task in the terminal. Knows only the contract of a text environment."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from envs.base import StepResult, TextEnv
from envs.task import Task

Ask = Callable[[str], str]
"""Like `input`: shows the prompt and returns a line; raises EOFError or KeyboardInterrupt when the person leaves."""

HELP = """\
Type what you want to do, as the world says it. And:
  ?          what the world accepts now, with numbers     ? lamp   only what holds "lamp"
  7          do number 7 of the last list
  !          what you have done so far
  q          quit (so do Ctrl-D and Ctrl-C)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """How a game ended."""

    num_steps: int
    success: bool
    score: float
    done: bool
    """False where the person left before the end."""


@dataclass(slots=True)
class _Game:
    result: StepResult
    history: list[tuple[str, str]]  # (action, observation)
    listed: tuple[str, ...] = ()


def play(env: TextEnv, task: Task, ask: Ask, out: Console, *, seed: int = 0) -> Played:
    """Play until the world ends the episode or the person leaves; `env` is closed by the caller."""
    first = env.reset(task, seed=seed)
    game = _Game(result=first, history=[])
    _show_opening(task, first, out)
    while not game.result.done:
        try:
            typed = ask(f"[{len(game.history)}] > ").strip()
        except (EOFError, KeyboardInterrupt):
            out.print()
            break
        if typed in ("q", "quit", "exit"):
            break
        _respond(env, game, typed, out)
    return _farewell(game, out)


def _respond(env: TextEnv, game: _Game, typed: str, out: Console) -> None:
    if typed.startswith("?"):
        _list_actions(game, typed[1:].strip(), out)
    elif typed == "!":
        _show_history(game, out)
    elif typed.isdigit():
        if 1 <= int(typed) <= len(game.listed):
            _act(env, game, game.listed[int(typed) - 1], out, echo=True)
        else:
            out.print(Text(f"no number {typed} in the last list; ? makes one", style="yellow"))
    elif typed:
        _act(env, game, typed, out, echo=False)


def _act(env: TextEnv, game: _Game, action: str, out: Console, *, echo: bool) -> None:
    if echo:
        out.print(Text(f"> {action}", style="bold cyan"))
    game.result = env.step(action)
    if game.result.executed is not None and game.result.executed != action:
        out.print(Text(f"(understood as: {game.result.executed})", style="dim"))
    game.history.append((action, game.result.observation))
    # Numbers of a list made before the world changed would mean something else now.
    game.listed = ()
    out.print(Text(game.result.observation, style="" if game.result.valid else "yellow"))


def _show_opening(task: Task, first: StepResult, out: Console) -> None:
    out.print(Text(f"{task.key}  ({task.kind}, {task.split})", style="dim"))
    out.print(Text(f"Your goal: {task.goal}", style="bold green"))
    out.print(Text(HELP, style="dim"))
    out.print()
    out.print(Text(first.observation))


def _list_actions(game: _Game, wanted: str, out: Console) -> None:
    if not game.result.admissible:
        out.print(Text("this world does not list what it accepts", style="yellow"))
        return
    game.listed = tuple(action for action in game.result.admissible if wanted.lower() in action.lower())
    if not game.listed:
        out.print(Text(f"nothing that the world accepts now holds {wanted!r}", style="yellow"))
    for number, action in enumerate(game.listed, start=1):
        out.print(Text.assemble((f"{number:4d}  ", "dim"), (action, "cyan")))


def _show_history(game: _Game, out: Console) -> None:
    if not game.history:
        out.print(Text("nothing yet", style="dim"))
    for number, (action, observation) in enumerate(game.history):
        out.print(
            Text.assemble((f"{number:4d}  ", "dim"), (action, "bold cyan"), ("  ", ""), (observation, "dim"))
        )


def _farewell(game: _Game, out: Console) -> Played:
    steps = f"{len(game.history)} step{'' if len(game.history) == 1 else 's'}"
    if game.result.success:
        out.print(Text(f"Solved in {steps}.", style="bold green"))
    elif game.result.done:
        out.print(
            Text(
                f"The world ended the episode after {steps}; score {game.result.score:.2f}.", style="bold red"
            )
        )
    else:
        out.print(Text(f"You left after {steps}; the goal is not reached.", style="yellow"))
    return Played(
        num_steps=len(game.history),
        success=game.result.success,
        score=game.result.score,
        done=game.result.done,
    )


def ask_terminal(prompt: str) -> str:
    """`input`, with line editing where the terminal has it; quits as on Ctrl-D where there is nobody to ask."""
    try:
        # Importing it is what switches on arrow keys and the history of lines in `input`.
        import readline  # noqa: F401
    except ImportError:
        pass
    return input(prompt if os.isatty(0) else "")
