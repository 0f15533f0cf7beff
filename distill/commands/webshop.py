"""The WebShop part of `offbook data`: fetch the files, build a catalogue, make one up, verify one, replay traces on one."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill.commands import EXIT_NEGATIVE, EXIT_OK


def fetch(args: argparse.Namespace) -> int:
    from envs.webshop.release import fetch as fetch_files

    got = fetch_files(args.out, args.products, args.source)
    print(
        f"{args.out}: {len(got)} files, whole; build the shop with\n  offbook data build webshop {args.out}"
    )
    return EXIT_OK


def build(args: argparse.Namespace) -> int:
    from envs.webshop.build import BuildOptions, build_from_files

    options = BuildOptions(limit=args.products, seed=args.seed, nouns=args.nouns)
    _report(args.out, build_from_files(args.source, args.out, options))
    return EXIT_OK


def generate(args: argparse.Namespace) -> int:
    from envs.webshop.generate import generate as generate_shop

    made = generate_shop(args.out, products=args.products, goals=args.goals, seed=args.seed)
    _report(args.out, made)
    return EXIT_OK


def verify(folder: Path) -> int:
    from envs.webshop.build import verify as changed_files
    from envs.webshop.catalogue import read_manifest

    changed = changed_files(folder)
    number = len(read_manifest(folder)["files"])
    print(f"{folder}: {number - len(changed)} of {number} files are as built")
    for name in changed:
        print(f"  changed: {name}")
    return EXIT_NEGATIVE if changed else EXIT_OK


def check_traces(args: argparse.Namespace) -> int:
    from envs.webshop.traces import check_traces as replay

    report = replay(args.traces, args.catalogue)
    if args.json:
        print(json.dumps({"ok": report.ok} | asdict(report), indent=1))
        return EXIT_OK if report.ok else EXIT_NEGATIVE
    print(
        f"{report.matched} matched, {report.mismatched} mismatched, in {report.episodes} episodes, {report.searches} searches "
        f"and {report.documents} analysed documents"
    )
    if report.first_difference is not None:
        print(f"first difference: {report.first_difference}")
    else:
        print("all matched" if report.ok else "nothing was compared")
    return EXIT_OK if report.ok else EXIT_NEGATIVE


def _report(out: Path, manifest: dict[str, Any]) -> None:
    goals = ", ".join(f"{held['count']} {kind} goals" for kind, held in manifest["goals"].items())
    print(f"{out}: {manifest['products']} products, {goals}, nouns by {manifest['nouns']}")
    print(f"sha256 {manifest['sha256']}")
