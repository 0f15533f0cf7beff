"""`offbook replay`: recorded episodes played again, as they were or with one change."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.commands import EXIT_NEGATIVE, EXIT_OK
from distill.commands.shared import Verbs, add_json, add_verb

if TYPE_CHECKING:
    from actors.trajectory import Trajectory
    from distill.run_folder import Rollout, RunFolder

_SHOWN = 20


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs,
        "replay",
        run,
        common,
        text="play recorded episodes again without the model, or on from a turn with one change",
    )
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="a study's folder, such as runs/demo")
    parser.add_argument("episode", metavar="EPISODE_ID", nargs="?", help="an episode's id or its beginning")
    which = parser.add_argument_group("which episodes")
    which.add_argument("--all", action="store_true", help="every episode of the run, or of --arm")
    which.add_argument("--task", metavar="KEY", help="a task's key or a part of it, instead of an id")
    which.add_argument("--arm", metavar="ARM", help="with --task or --all")
    which.add_argument(
        "--seed", metavar="N", type=int, help="with --task; beside an id, the seed to play on under"
    )
    change = parser.add_argument_group("play on with a change")
    change.add_argument(
        "--from-turn",
        "--from-step",
        dest="from_turn",
        metavar="T",
        type=int,
        help="replay turns 0 to T-1, as the printed episode numbers them, then let the model play on",
    )
    change.add_argument(
        "--hint", metavar="TEXT", action="append", help="instead of the recorded hints; may be repeated"
    )
    change.add_argument("--no-hints", action="store_true", help="without the recorded hints")
    change.add_argument("--k", metavar="N", type=int, help="retrieve N hints from the run's bank instead")
    change.add_argument("--model", metavar="M", help="another model of the study's kind, without an adapter")
    change.add_argument(
        "--address", metavar="ADDRESS", help="a running Ray cluster, where the model needs engines"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from distill.run_folder import find_by_id, find_by_task, open_run

    _check(args)
    opened = open_run(args.run_dir)
    if args.all:
        return _replay_all(opened, args)
    if args.episode is not None:
        rollout, trajectory = find_by_id(opened, args.episode)
    else:
        rollout, trajectory = find_by_task(opened, args.task, args.arm, args.seed)
    if args.from_turn is None:
        return _replay_one(opened, trajectory, args)
    return _play_on(opened, rollout, trajectory, args)


def _check(args: argparse.Namespace) -> None:
    named = [bool(args.all), args.episode is not None, args.task is not None]
    if sum(named) != 1:
        raise ValueError("name one episode by its id or by --task, or all of them by --all")
    changes = [
        name for name in ("hint", "no_hints", "k", "model") if getattr(args, name) not in (None, False)
    ]
    if args.episode is not None and args.seed is not None:
        changes.append("seed")
    if args.from_turn is None and changes:
        raise ValueError(
            f"--{changes[0].replace('_', '-')} changes what follows a turn; say which with --from-turn T"
        )
    if args.from_turn is not None and args.all:
        raise ValueError("--from-turn plays on from one episode; name it by its id or by --task")
    if len({"hint", "no_hints", "k"} & set(changes)) > 1:
        raise ValueError("--hint, --no-hints and --k say different things about the hints; give one of them")


def _replay_one(opened: "RunFolder", trajectory: "Trajectory", args: argparse.Namespace) -> int:
    from distill.commands.terminal import console
    from distill.episode_text import show_episode
    from distill.replay import replay
    from envs.registry import open_env

    env = open_env(opened.env)
    try:
        found = replay(env, trajectory)
    finally:
        env.close()
    if args.json:
        print(json.dumps(asdict(found) | {"exact": found.is_exact}, indent=1, ensure_ascii=False))
        return EXIT_OK if found.is_exact else EXIT_NEGATIVE
    out = console()
    show_episode(out, trajectory)
    if found.is_lost:
        out.print("\nnothing to replay: the machinery lost the episode", style="bold red")
    elif found.difference:
        out.print(f"\nafter {found.num_steps} steps as recorded, {found.difference}", style="bold red")
    else:
        out.print(f"\nreplayed exactly: {found.num_steps} steps", style="bold green")
    return EXIT_OK if found.is_exact else EXIT_NEGATIVE


def _replay_all(opened: "RunFolder", args: argparse.Namespace) -> int:
    from distill.replay_run import replay_run

    document = replay_run(opened, args.arm)
    if args.json:
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        _print_all(document)
    return EXIT_NEGATIVE if document["differences"] else EXIT_OK


def _print_all(document: dict[str, Any]) -> None:
    from distill.commands.terminal import console, table
    from distill.printable import visible
    from distill.replay_run import COUNTS

    out = console()
    rows = [
        [(stage, ""), *((str(counts[name]), "") for name in COUNTS)]
        for stage, counts in document["stages"].items()
    ]
    out.print(table(("stage", *COUNTS), rows))
    for one in document["differences"][:_SHOWN]:
        found = one["difference"]
        place = "" if found["turn"] is None else f" turn {found['turn']}"
        told = f"{found['what']} recorded {found['recorded']}, now {found['found']}"
        out.print(visible(f"{one['id']} {one['task']}{place}: {told}"), style="red")
    if (more := len(document["differences"]) - _SHOWN) > 0:
        out.print(f"and {more} more, which --json lists", style="red")
    lost = document["lost"]
    out.print(
        f"{document['exact']} of {document['episodes'] - lost} episodes replayed exactly, "
        f"{document['steps']} steps in {document['seconds']:.1f} s"
        + (f"; {lost} were lost by the machinery and hold nothing" if lost else "")
    )


def _play_on(
    opened: "RunFolder", rollout: "Rollout", trajectory: "Trajectory", args: argparse.Namespace
) -> int:
    from actors.store import to_line
    from distill.commands.terminal import console
    from distill.episode_text import show_head, show_hints, show_side_by_side
    from distill.replay_change import Change, play_on

    change = Change(
        from_turn=args.from_turn,
        hints=() if args.no_hints else None if args.hint is None else tuple(args.hint),
        k=args.k,
        model=args.model,
        seed=args.seed if args.episode is not None else None,
    )
    folder, other = play_on(opened, rollout, trajectory, change, address=args.address)
    if args.json:
        lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
        print(
            json.dumps(
                {"lineage": lineage, "episode": json.loads(to_line(other))}, indent=1, ensure_ascii=False
            )
        )
        return EXIT_OK
    out = console()
    show_head(out, trajectory)
    out.print(f"changed from turn {change.from_turn} on: {change.in_words}", style="bold")
    show_hints(out, other)
    out.print()
    show_side_by_side(out, trajectory, other, change.from_turn)
    out.print(f"\n{folder}")
    return EXIT_OK
