"""`offbook panel`: frozen lists of tasks; show one, make one, or check that the data at hand is the one it was frozen on."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from distill.commands import EXIT_NEGATIVE, EXIT_OK
from distill.commands.shared import Verbs, add_json, add_subverbs, add_verb

if TYPE_CHECKING:
    from envs.config import EnvConfig


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(verbs, "panel", None, common, text="show, make or check a frozen list of tasks")
    subverbs = add_subverbs(parser)

    show = add_verb(
        subverbs,
        "show",
        run_show,
        common,
        text="print a panel's tasks by kind and its hash, or the shipped panels' names",
    )
    _add_panel(show, "?")
    add_json(show)

    make = add_verb(subverbs, "make", run_make, common, text="freeze tasks with the hashes of their content")
    make.add_argument("name", metavar="NAME", help="the panel's name, such as lab/alfworld-test-60")
    _add_games(make)
    make.add_argument(
        "--split", choices=("train", "dev", "test"), default="test", help="default: %(default)s"
    )
    make.add_argument(
        "--tasks", metavar="N", type=int, help="so many, even over kinds and chosen by hash (default: all)"
    )
    make.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="the panel file to write (.json)"
    )

    check = add_verb(
        subverbs,
        "check",
        run_check,
        common,
        text="compare a panel with the data at hand; exit code 1 if it differs",
    )
    _add_panel(check)
    _add_games(check)


def run_show(args: argparse.Namespace) -> int:
    from envs.registry import find_panel, shipped_panels

    if args.panel is None:
        print("\n".join(shipped_panels()))
        return EXIT_OK
    panel = find_panel(args.panel)
    kinds = Counter(task.kind for task in panel.tasks)
    if args.json:
        summary = {
            "name": panel.name,
            "sha256": panel.sha256,
            "dialect": panel.dialect,
            "num_tasks": len(panel.tasks),
        }
        print(json.dumps(summary | {"kinds": dict(sorted(kinds.items()))}, indent=1))
        return EXIT_OK
    from distill.commands.terminal import console, table

    out = console()
    splits = ", ".join(sorted({f"{task.env} {task.split}" for task in panel.tasks}))
    out.print(
        f"{panel.name}: {len(panel.tasks)} tasks of {splits}, dialect {panel.dialect}\nsha256 {panel.sha256}\n"
    )
    out.print(
        table(("kind", "tasks"), [((kind, ""), (str(count), "")) for kind, count in sorted(kinds.items())])
    )
    return EXIT_OK


def run_make(args: argparse.Namespace) -> int:
    if args.out.suffix != ".json":
        raise ValueError(
            f"--out {args.out} must end in .json: that is how a study tells a panel's file from its name"
        )
    from distill.task_choice import balanced
    from envs.registry import list_tasks, make_panel

    env = _env_config(args)
    tasks = list_tasks(env, args.split)
    if not tasks:
        raise ValueError(f"{args.games or args.catalogue} holds no task of split {args.split!r}")
    panel = make_panel(
        args.name, env, tasks if args.tasks is None else balanced(tasks, args.tasks, args.split)
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    panel.save(args.out)
    print(f"{args.out}: panel {panel.name} of {len(panel.tasks)} tasks, sha256 {panel.sha256}")
    return EXIT_OK


def run_check(args: argparse.Namespace) -> int:
    from envs.base import EnvError
    from envs.panel import PanelMismatchError
    from envs.registry import check_panel, find_panel, list_tasks

    panel, env = find_panel(args.panel), _env_config(args)
    # Games that cannot be opened at all are bad input; games that lack tasks of the panel are the answer no.
    list_tasks(env)
    try:
        check_panel(panel, env)
    except (PanelMismatchError, EnvError) as error:
        print(f"no: {error}")
        return EXIT_NEGATIVE
    print(
        f"yes: {args.games or args.catalogue} holds all {len(panel.tasks)} tasks of {panel.name}, sha256 {panel.sha256}"
    )
    return EXIT_OK


def _add_panel(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    parser.add_argument(
        "panel",
        metavar="PANEL",
        nargs=nargs,
        help="a panel file (.json), or a shipped panel such as paper/alfworld-test",
    )


def _add_games(parser: argparse.ArgumentParser) -> None:
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument(
        "--games",
        metavar="PATH",
        help="ALFWorld: folder of the release, or compact .jsonl / .jsonl.xz files",
    )
    data.add_argument("--catalogue", metavar="DIR", help="WebShop: a built catalogue")
    parser.add_argument(
        "--goals",
        choices=("human", "synthetic"),
        default="human",
        help="of a catalogue (default: %(default)s)",
    )
    parser.add_argument(
        "--protocol",
        choices=("original", "fixed"),
        default="original",
        help="of a catalogue (default: %(default)s)",
    )


def _env_config(args: argparse.Namespace) -> "EnvConfig":
    from envs.config import AlfworldConfig, WebshopConfig

    if args.catalogue is None:
        return AlfworldConfig(games=args.games)
    return WebshopConfig(catalogue=args.catalogue, goals=args.goals, protocol=args.protocol)
