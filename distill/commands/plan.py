"""`offbook plan`: which stages of a study are there, begun or owed. Runs nothing."""

import argparse
import json
from collections import Counter
from typing import TYPE_CHECKING

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_out, add_study, add_verb, load_beside, load_study

if TYPE_CHECKING:
    from distill.stages import StageStatus

_STYLES = {"cached": "green", "partial": "yellow", "to do": "cyan"}


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs, "plan", run, common, text="show which stages of a study are cached and which would run"
    )
    add_study(parser)
    add_out(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    config = load_study(args)
    from distill.pipeline import plan_study

    planned = {
        study.name: plan_study(study, args.out) for study in (config, *load_beside(config, args.study))
    }
    if args.json:
        documents = [
            {
                "study": name,
                "stages": [{"name": s.name, "key": s.key, "state": s.state, "note": s.note} for s in stages],
            }
            for name, stages in planned.items()
        ]
        print(json.dumps(documents[0] | {"beside": documents[1:]}, indent=1, ensure_ascii=False))
        return EXIT_OK
    for name, stages in planned.items():
        _print(stages, name if len(planned) > 1 else "")
    return EXIT_OK


def _print(stages: "list[StageStatus]", title: str) -> None:
    from distill.commands.terminal import console, table

    out = console()
    if title:
        out.print(f"\n{title}")
    rows_text = [
        ((s.name, ""), (s.key, "dim"), (s.state, _STYLES.get(s.state, "")), (s.note, "")) for s in stages
    ]
    out.print(table(("stage", "key", "state", "note"), rows_text))
    counts = Counter(s.state for s in stages)
    out.print(", ".join(f"{count} {state}" for state, count in counts.items()))
