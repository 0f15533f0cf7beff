"""`offbook failures`: why each arm of a finished run lost what it lost, before and after."""

import argparse
import json
from pathlib import Path
from typing import Any

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_verb

_FLOW = ("base", "mended", "kept", "became_another", "new_from_won", "new_from_another", "arm")


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs,
        "failures",
        run,
        common,
        text="say why each arm lost what it lost, and which of base's failures it mended",
    )
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="a study's folder, such as runs/demo")
    parser.add_argument("--arm", metavar="ARM", action="append", help="only this arm's flow; may be repeated")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from distill.failure_report import failure_document
    from distill.run_folder import open_run

    opened = open_run(args.run_dir)
    for arm in args.arm or ():
        opened.evaluations(arm)
    document = failure_document(opened)
    if args.arm:
        document["flows"] = [flow for flow in document["flows"] if flow["arm"] in args.arm]
    if args.json:
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        _print(document)
    return EXIT_OK


def _print(document: dict[str, Any]) -> None:
    from distill.commands.terminal import console, table

    out = console()
    arms = document["arms"]
    counted = [
        (mark, words)
        for mark, words in document["classes"].items()
        if any(mark in a["classes"] for a in arms)
    ]
    rows = [
        [
            (mark, ""),
            *((_count(arm["classes"].get(mark, 0), arm["lost"]), "") for arm in arms),
            (words, "dim"),
        ]
        for mark, words in counted
    ]
    rows.append(
        [("lost", "bold"), *((f"{arm['lost']} of {arm['episodes']}", "bold") for arm in arms), ("", "")]
    )
    if any(arm["errors"] for arm in arms):
        rows.append(
            [("errors, in no class", "dim"), *((str(arm["errors"]), "dim") for arm in arms), ("", "")]
        )
    out.print(table(("class", *(arm["arm"] for arm in arms), "meaning"), rows))
    for flow in document["flows"]:
        _print_flow(flow)


def _print_flow(flow: dict[str, Any]) -> None:
    from distill.commands.terminal import console, table

    out = console()
    out.print(
        f"\nbase -> {flow['arm']}, {flow['pairs']} pairs of task and seed: {flow['mended']} mended, {flow['broken']} broken",
        style="bold",
    )
    headings = (
        "class",
        "in base",
        "mended",
        "kept",
        "became another",
        "new, base won",
        "new, was another",
        f"in {flow['arm']}",
    )
    rows = [[(row["class"], ""), *((str(row[name] or "-"), "") for name in _FLOW)] for row in flow["classes"]]
    out.print(table(headings, rows))


def _count(number: int, whole: int) -> str:
    return f"{number} ({number / whole:.0%})" if number else "-"
