"""`offbook ablate`: every cell of a grid of studies, and one joint table."""

import argparse
import json
from collections import Counter
from typing import TYPE_CHECKING

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_out, add_study, add_verb, study_path

if TYPE_CHECKING:
    from distill.ablation import Ablation


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs, "ablate", run, common, text="run every cell of a grid of studies and compare them"
    )
    add_study(parser)
    add_out(parser)
    add_json(parser)
    parser.set_defaults(usual_log_level="info")
    parser.add_argument("--plan", action="store_true", help="show the cells and what each owes; run nothing")
    parser.add_argument(
        "--address", metavar="ADDRESS", help="a running Ray cluster; default: a private one on this machine"
    )


def run(args: argparse.Namespace) -> int:
    from distill.ablation import load_ablation

    ablation = load_ablation(study_path(args.study), args.overrides, find_study=study_path)
    if args.plan:
        _print_plan(ablation, args)
        return EXIT_OK
    from distill.commands.report import print_results
    from distill.pipeline import run_ablation

    run_dir = run_ablation(ablation, args.out, address=args.address)
    print_results(run_dir, as_json=args.json)
    return EXIT_OK


def _print_plan(ablation: "Ablation", args: argparse.Namespace) -> None:
    from distill.commands.terminal import console, table
    from distill.pipeline import plan_study

    counted: set[str] = set()
    rows: list[dict[str, str | int]] = []
    num_owed = 0
    for cell in ablation.cells:
        stages = plan_study(cell.config, args.out)
        states = Counter(s.state for s in stages)
        # What an earlier cell of this very run does already is not owed again.
        shared = sum(s.key in counted and s.state != "cached" for s in stages)
        counted |= {s.key for s in stages}
        to_run = len(stages) - states["cached"] - shared
        num_owed += to_run
        rows.append(
            {
                "cell": cell.config.name,
                "stages": len(stages),
                "cached": states["cached"],
                "shared": shared,
                "to run": to_run,
            }
        )
    if args.json:
        print(json.dumps({"ablation": ablation.name, "axes": ablation.axes, "cells": rows}, indent=1))
        return
    out = console()
    out.print(table(tuple(rows[0]), [[(str(value), "") for value in row.values()] for row in rows]))
    out.print(f"{len(rows)} cells, {num_owed} stages to run")
