"""`offbook hints recall`: how often retrieval gave a task the hint that was written from it."""

import argparse
import json
from typing import TYPE_CHECKING

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_out, add_verb

if TYPE_CHECKING:
    from distill.hint_recall import SelfRecall, Share


def add_to(subverbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        subverbs,
        "recall",
        run,
        common,
        text="say how often a task that hints won was given one that was written from itself",
    )
    parser.add_argument(
        "study_run", metavar="RUN", help="a run's folder, or the name of a study that was run"
    )
    add_out(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from distill.hint_recall import recall_of_run

    named = Path(args.study_run)
    found = recall_of_run(named if named.is_dir() else args.out / args.study_run)
    if args.json:
        document = {
            arm: {"flips": one.flips.document, "still_lost": one.still_lost.document}
            for arm, one in found.items()
        }
        print(json.dumps(document, indent=1))
    else:
        for arm, one in found.items():
            print(_text(arm, one))
    return EXIT_OK


def _text(arm: str, found: "SelfRecall") -> str:
    return "\n".join(
        (
            f"{arm}: train tasks that base lost, and whether a hint that was written from this very task was among those given",
            f"  won with hints   {_line(found.flips)}",
            f"  lost with hints  {_line(found.still_lost)}",
        )
    )


def _line(share: "Share") -> str:
    if not share.of:
        return "no task"
    document = share.document
    low, high = document["ci95"]
    return (
        f"{share.num} of {share.of} = {document['share']:.0%} (95 % interval {low:.0%} to {high:.0%}); "
        f"blindly drawn hints of the kind: {share.by_chance:.0%}"
    )
