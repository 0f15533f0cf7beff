"""`offbook plan`: which stages of a study are there, begun or owed. Runs nothing."""

import argparse
import json
from collections import Counter

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_out, add_study, add_verb, load_study

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

    stages = plan_study(config, args.out)
    if args.json:
        rows = [{"name": s.name, "key": s.key, "state": s.state, "note": s.note} for s in stages]
        print(json.dumps({"study": config.name, "stages": rows}, indent=1, ensure_ascii=False))
        return EXIT_OK
    from distill.commands.terminal import console, table

    out = console()
    rows_text = [
        ((s.name, ""), (s.key, "dim"), (s.state, _STYLES.get(s.state, "")), (s.note, "")) for s in stages
    ]
    out.print(table(("stage", "key", "state", "note"), rows_text))
    counts = Counter(s.state for s in stages)
    out.print(", ".join(f"{count} {state}" for state, count in counts.items()))
    return EXIT_OK
