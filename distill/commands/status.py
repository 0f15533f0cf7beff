"""`offbook status`: how a run stands, from its files alone."""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_verb

if TYPE_CHECKING:
    from distill.sight.run_status import RunStatus

_STYLES = {
    "done": "green",
    "running": "bold green",
    "crashed": "bold red",
    "stopped": "yellow",
    "held elsewhere": "yellow",
    "owed": "cyan",
}


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs,
        "status",
        run,
        common,
        text="how a run stands: what is done, runs and is owed, at which rate, and what went wrong",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a study's folder such as runs/demo")
    add_json(parser)
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=_seconds,
        const=10.0,
        help="show it again every SECONDS (default: %(const)g) until all is done or Ctrl-C; with --json a line each time",
    )


def run(args: argparse.Namespace) -> int:
    from distill.sight.run_status import read_status

    while True:
        status = read_status(args.run_dir)
        _show(status, args)
        if args.watch is None or status.is_done:
            return EXIT_OK
        time.sleep(args.watch)


def _show(status: "RunStatus", args: argparse.Namespace) -> None:
    from distill.sight.status_text import to_json

    if args.json:
        indent = None if args.watch else 1
        print(json.dumps(to_json(status), indent=indent, ensure_ascii=False), flush=True)
    else:
        _print(status, clear=args.watch is not None)


def _print(status: "RunStatus", *, clear: bool) -> None:
    from distill.commands.terminal import console, table
    from distill.printable import visible
    from distill.sight.status_text import to_lines, to_rows

    out = console()
    if clear and out.is_terminal:
        out.clear()
    elif clear:
        out.print(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.now)))
    rows = [
        ((name, ""), (state, _STYLES.get(state, "")), (progress, ""), (note, "dim"))
        for name, state, progress, note in to_rows(status)
    ]
    out.print(table(("stage", "state", "progress", "note"), rows))
    # Reasons are a server's or a world's words: nothing in them may reach the terminal as a command.
    for line in to_lines(status):
        out.print(visible(line))
    for warning in status.warnings:
        out.print("! " + visible(warning), style="bold yellow")


def _seconds(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is no pause; give seconds above 0, such as 10")
    return value
