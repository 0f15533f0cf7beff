"""`offbook doctor`: what this machine lacks for a study, and the command that mends it."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from distill.commands import EXIT_NEGATIVE, EXIT_OK
from distill.commands.data import RELEASE
from distill.commands.shared import Verbs, add_json, add_out, add_verb, load_study_at

if TYPE_CHECKING:
    from distill.doctor import Finding

_STYLES = {"ok": "green", "advice": "yellow", "missing": "bold red"}


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs,
        "doctor",
        run,
        common,
        text="name what is missing and the command that mends it; exit code 1 if anything is",
    )
    add_json(parser)
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also import vLLM, PEFT and DeepSpeed and start Ray (about a minute)",
    )
    parser.add_argument("--study", metavar="STUDY", help="check the ALFWorld games that this study plays")
    parser.add_argument("--games", metavar="PATH", type=Path, help="check these ALFWorld games")
    parser.add_argument("--all", action="store_true", help="list every package, also those that are in order")
    add_out(parser)


def run(args: argparse.Namespace) -> int:
    from distill.doctor import examine

    findings = examine(out=args.out, games=_games(args), deep=args.deep)
    missing = [finding for finding in findings if finding.state == "missing"]
    if args.json:
        print(
            json.dumps({"ok": not missing, "findings": [asdict(finding) for finding in findings]}, indent=1)
        )
    else:
        _print(findings if args.all else _without_sound_packages(findings))
        print(_verdict(missing))
    return EXIT_NEGATIVE if missing else EXIT_OK


def _games(args: argparse.Namespace) -> Path | None:
    """The games that will be played: named, a study's, or a release in its usual place."""
    if args.games is not None:
        return args.games
    if args.study is not None:
        study = load_study_at(args.study)
        return Path(study.env.games) if study.env.name == "alfworld" and study.generate is None else None
    return RELEASE if RELEASE.is_dir() else None


def _print(findings: "list[Finding]") -> None:
    from distill.commands.terminal import console, table

    rows = [
        (
            (f.state, _STYLES[f.state]),
            (f.name, ""),
            (f.found, "dim" if f.state == "ok" else ""),
            (f.mend, "bold"),
        )
        for f in findings
    ]
    console().print(table(("", "checked", "found", "mend it with"), rows))


def _without_sound_packages(findings: "list[Finding]") -> "list[Finding]":
    """Forty packages in order are one line."""
    from distill.doctor import Finding
    from distill.doctor_packages import requirements

    names = {requirement.name for group in requirements().values() for requirement in group}
    sound = [finding for finding in findings if finding.name in names and finding.state == "ok"]
    if not sound:
        return findings
    first = findings.index(sound[0])
    line = Finding(name="packages", state="ok", found=f"{len(sound)} as wanted (--all lists them)")
    return [*findings[:first], line, *(f for f in findings[first:] if f not in sound)]


def _verdict(missing: "list[Finding]") -> str:
    if not missing:
        return "\nnothing is missing: offbook run demo"
    mends = list(dict.fromkeys(finding.mend for finding in missing))
    count = "one thing is" if len(missing) == 1 else f"{len(missing)} things are"
    return f"\n{count} missing; mend with:\n" + "\n".join(f"  {mend}" for mend in mends)
