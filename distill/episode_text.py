"""One episode, or two beside one another, for a person at a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.trajectory import Trajectory, Turn
from distill.printable import visible


def show_episode(out: Console, trajectory: Trajectory) -> None:
    """Who played what with which hints, every turn with its number, and how it ended."""
    show_head(out, trajectory)
    _line(out, trajectory.opening)
    for number, turn in enumerate(trajectory.turns):
        out.print(turn_text(number, turn))
    out.print(_line_text(ending(trajectory), style="bold green" if trajectory.success else "bold red"))


def show_head(out: Console, trajectory: Trajectory) -> None:
    task = trajectory.task
    player = trajectory.model + (f" + adapter {trajectory.adapter}" if trajectory.adapter else "")
    _line(out, f"{trajectory.id}  {task.key}  ({task.kind}, {task.split})", "dim")
    _line(out, f"arm {trajectory.arm}, seed {trajectory.seed}, {trajectory.agent}, {player}", "dim")
    _line(out, f"goal: {task.goal}", "bold")
    show_hints(out, trajectory)
    out.print()


def show_hints(out: Console, trajectory: Trajectory) -> None:
    for hint in trajectory.hints:
        shown = "never shown" if hint.turn is None else f"from turn {hint.turn}"
        _line(out, f"hint ({shown}): {hint.text}", "magenta")


def show_side_by_side(out: Console, original: Trajectory, other: Trajectory, from_turn: int) -> None:
    """What both share once, then both continuations by the number of the turn."""
    _line(out, original.opening)
    for number, turn in enumerate(original.turns[:from_turn]):
        out.print(turn_text(number, turn))
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for heading in (f"recorded {original.id}", f"now {other.id}"):
        table.add_column(heading, ratio=1, overflow="fold")
    for number in range(from_turn, max(len(original.turns), len(other.turns))):
        table.add_row(_cell(original.turns, number), _cell(other.turns, number))
    ends = [_line_text(ending(t), style="bold green" if t.success else "bold red") for t in (original, other)]
    table.add_row(*ends)
    out.print(table)


def turn_text(number: int, turn: Turn) -> Text:
    """The reply as it was said, and below it what came back."""
    mark = "" if turn.action is None else "> "
    said = turn.action if turn.action is not None else turn.reply
    text = Text.assemble(
        (f"[{number}] ", "dim"),
        (f"{mark}{visible(said)}", "dim italic" if turn.action is None else "bold cyan"),
    )
    if turn.executed not in (None, turn.action):
        text.append(f"  (as: {visible(turn.executed or '')})", "dim")
    if turn.action is not None or not turn.valid:
        refused = "" if turn.valid else "  [refused]"
        seen = visible(turn.observation, keep="\n").replace("\n", "\n    ")
        text.append(f"\n    {seen}{refused}", "" if turn.valid else "yellow")
    return text


def ending(trajectory: Trajectory) -> str:
    outcome = "won" if trajectory.success else "lost"
    steps = f"{trajectory.num_steps} step{'' if trajectory.num_steps == 1 else 's'}"
    error = f": {trajectory.error}" if trajectory.error else ""
    return f"{outcome} after {steps} ({trajectory.end}), score {trajectory.score:g}{error}"


def _cell(turns: Sequence[Turn], number: int) -> Text:
    return turn_text(number, turns[number]) if number < len(turns) else Text("")


def _line(out: Console, text: str, style: str = "") -> None:
    out.print(_line_text(text, style=style))


def _line_text(text: str, *, style: str) -> Text:
    return Text(visible(text, keep="\n"), style=style)
