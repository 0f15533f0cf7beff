"""`offbook run`: do what is owed of a study and show its table."""

import argparse

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_out, add_study, add_verb, load_beside, load_study


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(verbs, "run", run, common, text="run what is owed of a study and write its report")
    add_study(parser)
    add_out(parser)
    add_json(parser)
    parser.set_defaults(usual_log_level="info")
    parser.add_argument(
        "--address", metavar="ADDRESS", help="a running Ray cluster; default: a private one on this machine"
    )


def run(args: argparse.Namespace) -> int:
    config = load_study(args)
    from distill.commands.report import print_results
    from distill.pipeline import run_study

    beside = load_beside(config, args.study)
    run_dir = run_study(config, args.out, address=args.address, beside=beside)
    if not args.json:
        for other in beside:
            print_results(args.out / other.name, as_json=False)
    print_results(run_dir, as_json=args.json)
    return EXIT_OK
