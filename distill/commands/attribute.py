"""`offbook attribute`: which hints of a finished study's teacher did it."""

import argparse
import json
from pathlib import Path
from typing import Any

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_verb

_SHOWN = 20


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs,
        "attribute",
        run,
        common,
        text="play a teacher's wins again with every part of their hints and say which hints did it",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a study's folder, such as runs/demo")
    parser.add_argument(
        "--arm", default="teacher", help="an arm that gives the model hints (default: %(default)s)"
    )
    parser.add_argument(
        "--flips",
        metavar="N",
        type=int,
        help="look at N of the (task, seed) pairs that base lost and the arm won",
    )
    add_json(parser)
    parser.set_defaults(usual_log_level="info")
    parser.add_argument(
        "--address", metavar="ADDRESS", help="a running Ray cluster; default: a private one on this machine"
    )


def run(args: argparse.Namespace) -> int:
    if args.flips is not None and args.flips < 1:
        raise ValueError(f"--flips {args.flips} looks at nothing; give 1 or more, or leave it out for all")
    from distill.attribution_run import ATTRIBUTION
    from distill.config import StudyConfig
    from distill.pipeline import run_attribution

    try:
        settings = json.loads((args.run_dir / "run.json").read_text(encoding="utf-8"))["config"]
    except FileNotFoundError:
        raise ValueError(
            f"{args.run_dir} is no run: it holds no run.json; name a study's folder such as runs/demo"
        ) from None
    config = StudyConfig.model_validate(settings)
    folder = run_attribution(
        config, args.run_dir.resolve().parent, args.arm, num_flips=args.flips, address=args.address
    )
    found = json.loads((folder / ATTRIBUTION).read_text(encoding="utf-8"))
    if args.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return EXIT_OK
    _print(found, folder / ATTRIBUTION)
    return EXIT_OK


def _print(found: dict[str, Any], path: Path) -> None:
    from distill.commands.terminal import console, table

    out = console()
    headings = ("hint", "flips", "lost without", "won alone", "Shapley (95 % CI)", "text")
    rows = [
        [
            (hint["id"], "dim"),
            (str(hint["num_flips"]), ""),
            (f"{hint['needed']:.0%}", ""),
            (f"{hint['enough']:.0%}", ""),
            (f"{hint['shapley']:.2f} ({hint['shapley_ci95'][0]:.2f}-{hint['shapley_ci95'][1]:.2f})", ""),
            (hint["text"], ""),
        ]
        for hint in found["hints"][:_SHOWN]
    ]
    out.print(table(headings, rows))
    stable = found["num_flips"] - found["num_unstable"]
    out.print(
        f"{found['num_flips']} flips, {found['num_unstable']} of them not the same when played again; of the other {stable} "
        f"one hint alone wins {found['any_alone']:.0%}, and no smaller part than all wins {found['together_only']:.0%}"
    )
    out.print(f"\n{path}")
