"""`offbook play`: a person plays one task in the terminal."""

import argparse
import random
from contextlib import ExitStack
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_verb

if TYPE_CHECKING:
    from envs.config import EnvConfig
    from envs.task import Task

DEFAULT_GAMES = (Path("data/alfworld"), Path("data/households"))
"""Where `offbook data fetch` and `generate` put games unless told otherwise."""

SHOPS = (Path("data/webshop"), Path("data/shop"))
"""Where `offbook data build` and `generate` put catalogues unless told otherwise."""

_NUM_HOUSEHOLDS = 6
"""One of each kind of task."""
_NUM_PRODUCTS, _NUM_GOALS = 300, 24


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(verbs, "play", run, common, text="play one task yourself in the terminal")
    parser.add_argument(
        "env",
        metavar="ENV",
        nargs="?",
        choices=("alfworld", "scripted", "webshop"),
        default="alfworld",
        help="alfworld, webshop or scripted",
    )
    parser.add_argument(
        "--games",
        metavar="PATH",
        type=Path,
        help=f"games to choose from (default: {DEFAULT_GAMES[0]}, else {DEFAULT_GAMES[1]}, else a household made on the spot)",
    )
    parser.add_argument(
        "--catalogue",
        metavar="DIR",
        type=Path,
        help=f"the shop to go to (default: {SHOPS[0]}, else {SHOPS[1]}, else one made on the spot)",
    )
    parser.add_argument("--task", metavar="ID", help="a task's id or a part of it (default: one by --seed)")
    parser.add_argument("--split", choices=("train", "dev", "test"), help="choose from this split only")
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="chooses the task (default: another one each time, whose seed is shown)",
    )
    parser.add_argument("--list", action="store_true", help="list the tasks instead of playing")


def run(args: argparse.Namespace) -> int:
    from distill.commands.terminal import console
    from distill.play import ask_terminal, play
    from envs.registry import list_tasks, open_env

    out = console()
    seed = random.randrange(10**6) if args.seed is None else args.seed
    with ExitStack() as stack:
        config = _env_config(args, stack, seed)
        tasks = list_tasks(config, args.split)
        if args.list:
            for task in tasks:
                print(f"{task.id}\t{task.kind}\t{task.goal}")
            return EXIT_OK
        task = choose_task(tasks, args.task, seed)
        env = open_env(config)
        stack.callback(env.close)
        play(env, task, ask_terminal, out, seed=seed)
        if args.task is None:
            out.print(f"--seed {seed} plays it again", style="dim")
    return EXIT_OK


def choose_task(tasks: "list[Task]", wanted: str | None, seed: int) -> "Task":
    """The task of that id, the only one whose id holds it, or one drawn by `seed`."""
    if not tasks:
        raise ValueError("there is no task to play in these games; see `offbook data`")
    if wanted is None:
        return random.Random(seed).choice(tasks)
    wanted = wanted.removeprefix(f"{tasks[0].env}/")
    found = [task for task in tasks if task.id == wanted] or [task for task in tasks if wanted in task.id]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"--task {wanted!r} fits {len(found)} tasks, among them {found[0].id} and {found[1].id}; give more of the id"
        )
    near = get_close_matches(wanted, [task.id for task in tasks], n=1, cutoff=0.3)
    raise ValueError(
        f"no task's id holds {wanted!r}; --list shows them all"
        + (f", the nearest is {near[0]}" if near else "")
    )


def _env_config(args: argparse.Namespace, stack: ExitStack, seed: int) -> "EnvConfig":
    from envs.config import AlfworldConfig, ScriptedConfig

    if args.env == "scripted":
        return ScriptedConfig()
    if args.env == "webshop":
        return _shop_config(args.catalogue, stack, seed)
    if args.games is not None:
        return AlfworldConfig(games=str(args.games))
    for folder in DEFAULT_GAMES:
        if folder.is_dir():
            return AlfworldConfig(games=str(folder))
    return AlfworldConfig(games=str(_households(stack, seed)))


def _households(stack: ExitStack, seed: int) -> Path:
    """A few new games in a temporary folder, so that playing needs no download."""
    from envs.alfworld.generate import generate_splits

    folder = Path(stack.enter_context(TemporaryDirectory(prefix="offbook-play-")))
    generate_splits(folder, seed=seed, train=_NUM_HOUSEHOLDS, test=_NUM_HOUSEHOLDS)
    return folder


def _shop_config(named: Path | None, stack: ExitStack, seed: int) -> "EnvConfig":
    """Human goals where the shop has any; all ten products of a page are shown to a person."""
    from envs.config import WebshopConfig
    from envs.webshop.catalogue import open_catalogue

    folder = named or next((shop for shop in SHOPS if shop.is_dir()), None)
    if folder is None:
        from envs.webshop.generate import generate

        folder = Path(stack.enter_context(TemporaryDirectory(prefix="offbook-play-"))) / "shop"
        generate(folder, products=_NUM_PRODUCTS, goals=_NUM_GOALS, seed=seed)
    counts = {kind: held["count"] for kind, held in open_catalogue(folder).manifest["goals"].items()}
    kind = "human" if counts["human"] else "synthetic"
    return WebshopConfig(catalogue=str(folder), goals=kind, results_shown=0)
