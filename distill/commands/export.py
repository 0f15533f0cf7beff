"""`offbook export`: what a finished study made, in the forms that others read."""

import argparse
from pathlib import Path

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_verb


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs,
        "export",
        run,
        common,
        text="copy a study's datasets, adapters, results and metrics into a new folder, checked and with cards",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a study's folder, such as runs/demo")
    parser.add_argument(
        "--to", metavar="DIR", type=Path, required=True, help="a folder that is not there yet"
    )
    parser.add_argument(
        "--arm",
        dest="arms",
        metavar="ARM",
        action="append",
        default=[],
        help="a student arm; may be repeated (default: all)",
    )
    parser.add_argument("--adapters", action="store_true", help="adapters, and no datasets unless asked for")
    parser.add_argument("--dataset", action="store_true", help="datasets, and no adapters unless asked for")


def run(args: argparse.Namespace) -> int:
    from distill.export import export_run

    everything = not (args.adapters or args.dataset)
    files = export_run(
        args.run_dir,
        args.to,
        arms=args.arms,
        datasets=args.dataset or everything,
        adapters=args.adapters or everything,
    )
    for path in files:
        print(path)
    return EXIT_OK
