"""`offbook data`: get games, make games, and prove that they are what they should be."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from distill.commands import EXIT_NEGATIVE, EXIT_OK
from distill.commands.shared import Verbs, add_json, add_subverbs, add_verb

RELEASE = Path("data/alfworld")
HOUSEHOLDS = Path("data/households")
SHOP = Path("data/webshop")
SHOP_FILES = Path("data/webshop-files")
MADE_SHOP = Path("data/shop")
_MOST_NAMED = 20
"""Games that a report names one by one."""


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs, "data", None, common, text="fetch, build, generate and verify what environments play on"
    )
    subverbs = add_subverbs(parser)

    fetch = add_verb(subverbs, "fetch", run_fetch, common, text="get the official release and verify it")
    _add_env(fetch, "alfworld", "webshop")
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="PATH",
        type=Path,
        help="a copy on this machine instead of the download",
    )
    fetch.add_argument(
        "--products",
        choices=("1000", "all"),
        default="all",
        help="webshop: the original's short list (10 MB), or all 1.18 million products (5.7 GB; default)",
    )
    fetch.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help=f"where to put them (default: {RELEASE}, or {SHOP_FILES}-1000 or -all)",
    )

    generate = add_verb(
        subverbs, "generate", run_generate, common, text="make new households, or a shop of our own"
    )
    _add_env(generate, "alfworld", "webshop")
    generate.add_argument(
        "--seed", metavar="S", type=int, required=True, help="the same seed makes the same games"
    )
    generate.add_argument(
        "--games",
        metavar="N",
        type=int,
        help="alfworld: number of games, a third of them for the test side",
    )
    generate.add_argument("--products", metavar="N", type=int, help="webshop: number of products")
    generate.add_argument(
        "--goals",
        metavar="M",
        type=int,
        help="webshop: number of goals, a quarter of them for the test split",
    )
    generate.add_argument(
        "--rooms", choices=("small", "full", "crowded", "mixed"), default="mixed", help="default: %(default)s"
    )
    generate.add_argument(
        "--files",
        action="store_true",
        help="a game.tw-pddl each, as in the release, instead of compact .jsonl files",
    )
    generate.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help=f"where to put them (default: {HOUSEHOLDS} or {MADE_SHOP})",
    )

    build = add_verb(
        subverbs,
        "build",
        run_build,
        common,
        text="make a catalogue from the original's files, to be played from",
    )
    _add_env(build, "webshop")
    build.add_argument("source", metavar="SRC", type=Path, help="a folder with the original's JSON files")
    build.add_argument(
        "--products", metavar="N", type=int, help="only the first N entries of the file (default: all)"
    )
    build.add_argument(
        "--seed", metavar="S", type=int, default=42, help="draws prices and price caps (default: %(default)s)"
    )
    build.add_argument(
        "--nouns",
        choices=("auto", "spacy", "rule"),
        default="auto",
        help="who finds the nouns of titles; auto: spaCy where it and its model are installed (default: %(default)s)",
    )
    _add_out(build, SHOP)

    verify = add_verb(
        subverbs,
        "verify",
        run_verify,
        common,
        text="check every game of a folder; exit code 1 if one is damaged",
    )
    _add_env(verify, "alfworld", "webshop")
    verify.add_argument("dir", metavar="DIR", type=Path, help="a folder of games, or a catalogue")
    verify.add_argument(
        "--partial", action="store_true", help="a part of the release will do, if nothing in it differs"
    )

    traces = add_verb(
        subverbs,
        "check-traces",
        run_check_traces,
        common,
        text="replay recorded traces and compare every observation, command list, score and end; exit code 1 on any mismatch",
    )
    traces.add_argument(
        "traces", metavar="TRACES", type=Path, help="a .jsonl or .jsonl.xz file, or a folder of such files"
    )
    recorded_on = traces.add_mutually_exclusive_group(required=True)
    recorded_on.add_argument(
        "--games", metavar="GAMES", type=Path, help="the games that the traces were recorded on"
    )
    recorded_on.add_argument(
        "--catalogue", metavar="DIR", type=Path, help="the WebShop catalogue that the traces were recorded on"
    )
    add_json(traces)
    for each in (fetch, generate, build):
        each.set_defaults(usual_log_level="info")


def run_fetch(args: argparse.Namespace) -> int:
    if args.env == "webshop":
        from distill.commands import webshop

        args.out = args.out or SHOP_FILES.with_name(f"{SHOP_FILES.name}-{args.products}")
        return webshop.fetch(args)
    from envs.alfworld.release import fetch

    args.out = args.out or RELEASE
    report = fetch(args.out, args.source)
    print(f"{args.out}: {report.summary()}")
    return EXIT_OK if report.whole else EXIT_NEGATIVE


def run_build(args: argparse.Namespace) -> int:
    from distill.commands import webshop

    return webshop.build(args)


def run_generate(args: argparse.Namespace) -> int:
    needed = ("products", "goals") if args.env == "webshop" else ("games",)
    for name in needed:
        if getattr(args, name) is None:
            raise ValueError(f"`data generate {args.env}` needs --{name}")
    if args.env == "webshop":
        from distill.commands import webshop

        args.out = args.out or MADE_SHOP
        return webshop.generate(args)
    return _generate_households(args)


def _generate_households(args: argparse.Namespace) -> int:
    from envs.alfworld.generate import generate

    args.out = args.out or HOUSEHOLDS
    _require_unmixed(args.out, files=args.files)
    made = generate(args.out, seed=args.seed, games=args.games, rooms=args.rooms, files=args.files)
    print(f"{args.out}: " + ", ".join(f"{number} games in {split}" for split, number in made.items()))
    return EXIT_OK


def _require_unmixed(out: Path, *, files: bool) -> None:
    """Compact files hide a release beside them, and two trees of files become one: neither is what anybody wants."""
    rewritten = set() if files else {"train.jsonl", "valid_unseen.jsonl"}
    others = sorted(path.name for path in out.iterdir() if path.name not in rewritten) if out.is_dir() else []
    if others:
        raise ValueError(f"{out} already holds {others[0]}; generate into a folder of its own with --out")


def run_verify(args: argparse.Namespace) -> int:
    if args.env == "webshop":
        from distill.commands import webshop

        return webshop.verify(args.dir)
    from envs.alfworld.release import verify

    report = verify(args.dir)
    if not report.matched and not report.changed:
        return _verify_own(args.dir, report.foreign)
    print(f"{args.dir}: {report.summary()}")
    for word, paths in (("changed", report.changed), ("foreign", report.foreign)):
        for path in paths[:_MOST_NAMED]:
            print(f"  {word}: {path}")
    return EXIT_OK if report.whole or (args.partial and report.genuine) else EXIT_NEGATIVE


def _verify_own(games: Path, paths: Sequence[str]) -> int:
    """Games that the release does not have carry their own proof: a walkthrough that wins."""
    from envs.alfworld.index import open_index
    from envs.alfworld.world import World

    index = open_index(str(games))
    lost = []
    for path in paths:
        world = World(index.game(path))
        world.reset()
        for command in index.row(path).walkthrough:
            world.step(command)
        if not world.done:
            lost.append(path)
    print(
        f"{games}: {len(paths)} games, none of them the release's; the walkthroughs of {len(paths) - len(lost)} win"
    )
    for path in lost[:_MOST_NAMED]:
        print(f"  not won: {path}")
    return EXIT_NEGATIVE if lost else EXIT_OK


def run_check_traces(args: argparse.Namespace) -> int:
    if args.catalogue is not None:
        from distill.commands import webshop

        return webshop.check_traces(args)
    from envs.alfworld.traces import check_traces

    report = check_traces(args.traces, args.games)
    if args.json:
        print(json.dumps({"ok": report.ok} | asdict(report), indent=1))
        return EXIT_OK if report.ok else EXIT_NEGATIVE
    print(f"{report.matched} steps matched, {report.mismatched} mismatched, in {report.num_traces} traces")
    if report.missing:
        print(f"{len(report.missing)} games are not in {args.games}, first {report.missing[0]}")
    if report.unplayable:
        print(f"{report.unplayable} traces hold no steps")
    if report.first_difference is not None:
        print(f"first difference: {report.first_difference}")
    elif report.ok:
        print("all matched")
    else:
        print(
            "nothing was compared"
            if not report.matched
            else "what was compared matched, but games are missing"
        )
    return EXIT_OK if report.ok else EXIT_NEGATIVE


def _add_env(parser: argparse.ArgumentParser, *names: str) -> None:
    names = names or ("alfworld",)
    parser.add_argument("env", metavar="ENV", choices=names, help=" or ".join(names))


def _add_out(parser: argparse.ArgumentParser, usual: Path) -> None:
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=usual,
        help="where to put them (default: %(default)s)",
    )
