"""`offbook internalise`: how much of what the hints said a finished study's students do without them."""

import argparse
import json
from pathlib import Path
from typing import Any

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_verb


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs,
        "internalise",
        run,
        common,
        text="say how much of the hints is in the students: what hints still add, and how likely they find the teacher's replies",
    )
    parser.add_argument("run_dir", metavar="RUN", type=Path, help="a study's folder, such as runs/demo")
    parser.add_argument(
        "--student",
        metavar="ARM",
        action="append",
        default=[],
        help="only this one; may be repeated (default: all)",
    )
    parser.add_argument(
        "--teacher", metavar="ARM", default="teacher", help="whose hints (default: %(default)s)"
    )
    parser.add_argument(
        "--no-play", action="store_true", help="leave out students with hints that the study has not played"
    )
    parser.add_argument(
        "--no-scores", action="store_true", help="leave out log-probabilities, which read the model's weights"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="for the log-probabilities"
    )
    add_json(parser)
    parser.set_defaults(usual_log_level="info")
    parser.add_argument(
        "--address", metavar="ADDRESS", help="a running Ray cluster; default: a private one on this machine"
    )


def run(args: argparse.Namespace) -> int:
    from distill.internalisation_run import INTERNALISATION, measure
    from distill.run_folder import open_run

    document = measure(
        open_run(args.run_dir),
        students=args.student,
        teacher=args.teacher,
        play=not args.no_play,
        score=not args.no_scores,
        device=args.device,
        address=args.address,
    )
    if args.json:
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return EXIT_OK
    _print_gains(document)
    _print_likelihoods(document)
    _print_groups(
        document, "unseen_hints", "tasks by whether their hints stood in the prompts behind the training rows"
    )
    _print_groups(document, "held_out_kinds", "tasks by whether a training row is of their kind")
    print(f"\n{args.run_dir / INTERNALISATION}")
    return EXIT_OK


def _print_gains(document: dict[str, Any]) -> None:
    rows = [
        [
            row["player"],
            _rate(row["gain"], "rate_other"),
            _rate(row["gain"], "rate"),
            _delta(row["gain"]),
            _p(row["gain"]),
        ]
        for row in document["with_hints"]
    ]
    _table(
        "What hints still add in success (a student that has taken them in gains nothing)",
        ("player", "without", "with hints", "difference (95 % CI)", "p"),
        rows,
    )


def _print_likelihoods(document: dict[str, Any]) -> None:
    told = document["likelihood"]
    if told is None:
        return
    rows = [
        [
            name,
            _nats(own, "log_prob", "ci95"),
            _nats(own, "over_base", "over_base_ci95"),
            _nats(own, "over_control", "over_control_ci95"),
            _closed(own),
        ]
        for name, own in told["players"].items()
    ]
    _table(
        f"Log-probability of the teacher's replies, nats a token: {told['episodes']} wins at {told['tasks']} held-out tasks, "
        f"{told['tokens']} tokens; hints in the teacher's prompt alone",
        (
            "player",
            "mean (95 % CI)",
            "over base (95 % CI)",
            f"over {told['control'] or 'control'} (95 % CI)",
            "gap closed (95 % CI)",
        ),
        rows,
    )


def _print_groups(document: dict[str, Any], name: str, heading: str) -> None:
    for student, told in document[name].items():
        rows = [
            [
                group["group"],
                str(group["tasks"]),
                _rate(group["student_over_base"], "rate_other"),
                _delta(group["teacher_over_base"]),
                _delta(group["student_over_base"]),
            ]
            for group in told["groups"]
        ]
        _table(
            f"{student}: {heading}",
            ("group", "tasks", "base", "teacher over base (95 % CI)", "student over base (95 % CI)"),
            rows,
        )
        if (apart := told["first_over_last"]) is not None:
            low, high = apart["ci95"]
            print(
                f"{told['groups'][0]['group']} less {told['groups'][-1]['group']}: {apart['delta']:+.1%} ({low:+.1%} to {high:+.1%})"
            )


def _table(heading: str, headings: tuple[str, ...], rows: list[list[str]]) -> None:
    from distill.commands.terminal import console, table

    out = console()
    out.print(f"\n{heading}", style="bold")
    out.print(table(headings, [[(cell, "") for cell in row] for row in rows]))


def _rate(gain: dict[str, Any] | None, which: str) -> str:
    return "-" if gain is None else f"{gain[which]:.1%}"


def _delta(gain: dict[str, Any] | None) -> str:
    return "-" if gain is None else f"{gain['delta']:+.1%} ({gain['ci95'][0]:+.1%} to {gain['ci95'][1]:+.1%})"


def _p(gain: dict[str, Any] | None) -> str:
    return "-" if gain is None else f"{gain['p_value']:.2g}"


def _nats(own: dict[str, Any], name: str, interval: str) -> str:
    if own[name] is None:
        return "-"
    low, high = own[interval]
    return f"{own[name]:+.4f} ({low:+.4f} to {high:+.4f})"


def _closed(own: dict[str, Any]) -> str:
    if own["closed"] is None:
        return "-"
    low, high = own["closed_ci95"]
    return f"{own['closed']:.0%} ({low:.0%} to {'no limit' if high is None else f'{high:.0%}'})"
