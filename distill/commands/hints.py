"""`offbook hints`: look at banks of hints, check, compare, merge and exchange them."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distill.commands import EXIT_NEGATIVE, EXIT_OK, hints_recall
from distill.commands.shared import Verbs, add_json, add_out, add_subverbs, add_verb

if TYPE_CHECKING:
    from distill.bank_location import LocatedBank
    from distill.hints.bank import Bank
    from envs.panel import Panel

SIMILARITY = 85.0
"""The bank's own default; a test holds them equal."""

_STEPS_SHOWN = 5
_LINEAGE_SHOWN = 10
_FAILURES_SHOWN = 3


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs, "hints", None, common, text="look at, check, compare and exchange banks of hints"
    )
    subverbs = add_subverbs(parser)

    listed = add_verb(
        subverbs, "list", run_list, common, text="print a bank's hints by kind, the most frequent first"
    )
    _add_bank(listed)
    listed.add_argument("--kind", metavar="KIND", help="only kinds whose name holds this")
    listed.add_argument("--top", metavar="N", type=_positive, help="only the first N of each kind")
    add_out(listed)
    add_json(listed)

    show = add_verb(
        subverbs, "show", run_show, common, text="print one hint with its lineage and the failures behind it"
    )
    _add_bank(show)
    show.add_argument("id", metavar="ID", help="a hint's id or the first letters of it")
    show.add_argument(
        "--steps",
        metavar="N",
        type=int,
        default=_STEPS_SHOWN,
        help="last turns shown of a failure (default: %(default)s)",
    )
    show.add_argument(
        "--all",
        action="store_true",
        help=f"the whole lineage and every failure, not the first {_LINEAGE_SHOWN} and {_FAILURES_SHOWN}",
    )
    add_out(show)
    add_json(show)

    audit = add_verb(
        subverbs,
        "audit",
        run_audit,
        common,
        text="look for bad, repeated and misfiled hints; exit code 1 if there are any",
    )
    _add_bank(audit)
    _add_panel(audit)
    _add_similarity(audit, SIMILARITY, "hints this alike repeat one another (0 to 100, default: %(default)g)")
    audit.add_argument(
        "--ignore", metavar="RULE", action="append", default=[], help="leave a rule out; may be repeated"
    )
    add_out(audit)
    add_json(audit)

    exported = add_verb(subverbs, "export", run_export, common, text="write a bank as JSONL, CSV or Markdown")
    _add_bank(exported)
    exported.add_argument(
        "--format", choices=("jsonl", "csv", "md"), help="default: by the ending of --to, else jsonl"
    )
    exported.add_argument("--to", metavar="FILE", type=Path, help="default: standard output")
    _add_force(exported)
    add_out(exported)

    hints_recall.add_to(subverbs, common)

    imported = add_verb(subverbs, "import", run_import, common, text="make a bank of a text file")
    imported.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help=".jsonl, one hint a line as `export` writes it, or .json of the form {kind: [texts]}",
    )
    imported.add_argument(
        "--env",
        choices=("alfworld", "webshop", "scripted"),
        help="of lines that name none; a .json names none",
    )
    imported.add_argument(
        "--writer", metavar="NAME", default="imported", help="of lines that name none (default: %(default)s)"
    )
    imported.add_argument(
        "--skip-bad", action="store_true", help="leave bad lines out instead of refusing the file"
    )
    _add_panel(imported)
    _add_similarity(imported, None, "also fold hints this alike (0 to 100); default: only equal ones are one")
    _add_bank_file(imported)

    diff = add_verb(subverbs, "diff", run_diff, common, text="compare two banks; exit code 1 if they differ")
    _add_two_banks(diff)
    _add_similarity(
        diff, SIMILARITY, "hints this alike are one in other words (0 to 100, default: %(default)g)"
    )
    add_out(diff)
    add_json(diff)

    merge = add_verb(
        subverbs,
        "merge",
        run_merge,
        common,
        text="make one bank of two; what both hold of a failure counts once",
    )
    _add_two_banks(merge)
    _add_panel(merge)
    _add_similarity(merge, SIMILARITY, "fold hints this alike (0 to 100, default: %(default)g)")
    _add_bank_file(merge)
    merge.add_argument(
        "--runs",
        metavar="DIR",
        type=Path,
        default=Path("runs"),
        help="folder of all runs (default: %(default)s)",
    )


def run_list(args: argparse.Namespace) -> int:
    from distill.commands import hints_views

    found = _locate(args.bank, args.out)
    hints = [hint for hint in found.bank.hints if args.kind is None or args.kind in hint.kind]
    if not hints and found.bank.hints:
        raise ValueError(f"--kind {args.kind!r} fits none of the kinds {', '.join(found.bank.kinds)}")
    if args.json:
        print(hints_views.list_json(hints, args.top))
    else:
        print(hints_views.list_text(hints, args.top, width=_width()), end="")
    return EXIT_OK


def run_show(args: argparse.Namespace) -> int:
    from distill.commands import hints_views
    from distill.episode_columns import load_trajectories

    found = _locate(args.bank, args.out)
    hint = hints_views.chosen(found.bank.hints, args.id)
    shown = None if args.all else _LINEAGE_SHOWN
    failures = (
        load_trajectories(found.rollouts, hint.sources[: None if args.all else _FAILURES_SHOWN])
        if found.rollouts
        else []
    )
    view = hints_views.HintView(hint=hint, failures=failures, steps=args.steps, shown=shown)
    print(view.json() if args.json else view.text(), end="")
    return EXIT_OK


def run_audit(args: argparse.Namespace) -> int:
    from distill.commands import hints_views
    from distill.hints.bank_audit import audit_bank

    found = _locate(args.bank, args.out)
    panel = _panel(args)
    at_hand = _task_keys(args, found) if panel else {}
    findings = audit_bank(
        found.bank, similarity=args.similarity, panel=panel, at_hand=at_hand, ignore=args.ignore
    )
    if args.json:
        print(hints_views.audit_json(found.bank, findings))
    else:
        print(hints_views.audit_text(found.bank, findings), end="")
        _print_unsourced(found.bank, panel)
    return EXIT_NEGATIVE if findings else EXIT_OK


def run_export(args: argparse.Namespace) -> int:
    from distill.atomic import write_atomically
    from distill.hints.exchange import FORMATS

    suffix = args.to.suffix.removeprefix(".") if args.to else ""
    form = args.format or suffix or "jsonl"
    if form not in FORMATS:
        raise ValueError(
            f"--to {args.to} ends in .{suffix}, which is none of {', '.join(FORMATS)}; name a --format"
        )
    if args.to is not None:
        _require_new(args.to, args.force)
    text = FORMATS[form](_locate(args.bank, args.out).bank)
    if args.to is None:
        sys.stdout.write(text)
    else:
        write_atomically(args.to, text)
        print(args.to)
    return EXIT_OK


def run_import(args: argparse.Namespace) -> int:
    from distill.commands.hints_views import print_bad_lines
    from distill.hints.bank import build_bank
    from distill.hints.bank_import import Defaults, import_bank
    from distill.hints.config import BankConfig

    _require_new(args.out, args.force)
    read = import_bank(args.file, Defaults(env=args.env, writer=args.writer), skip_bad=args.skip_bad)
    bank = read.bank
    if args.similarity is not None:
        bank = build_bank(bank.hints, BankConfig(similarity=args.similarity))
    panel = _panel(args)
    if panel is not None:
        bank.check_sources(panel, _task_keys(args))
    bank.save(args.out)
    edited = f", {read.num_edited} of them edited" if read.num_edited else ""
    print(f"{args.out}: {len(bank.hints)} hints from {read.num_read} entries{edited}, sha256 {bank.sha256}")
    print_bad_lines(read.bad)
    _print_unsourced(bank, panel)
    return EXIT_OK


def run_diff(args: argparse.Namespace) -> int:
    from distill.commands import hints_views
    from distill.hints.comparison import diff_banks

    a, b = (_locate(name, args.out).bank for name in (args.a, args.b))
    difference = diff_banks(a, b, args.similarity)
    print(hints_views.diff_json(difference) if args.json else hints_views.diff_text(difference), end="")
    return EXIT_OK if difference.same else EXIT_NEGATIVE


def run_merge(args: argparse.Namespace) -> int:
    from distill.hints.config import BankConfig

    _require_new(args.out, args.force)
    a, b = _locate(args.a, args.runs), _locate(args.b, args.runs)
    panel = _panel(args)
    at_hand = _task_keys(args, a, b) if panel else {}
    merged = a.bank.merge(b.bank, BankConfig(similarity=args.similarity), panel=panel, at_hand=at_hand)
    merged.save(args.out)
    counts = " and ".join(f"{len(found.bank.hints)} of {found.path}" for found in (a, b))
    print(f"{args.out}: {len(merged.hints)} hints from {counts}, sha256 {merged.sha256}")
    _print_unsourced(merged, panel)
    return EXIT_OK


def _locate(name: str, runs: Path) -> "LocatedBank":
    from distill.bank_location import locate_bank

    return locate_bank(name, runs)


def _panel(args: argparse.Namespace) -> "Panel | None":
    from envs.registry import find_panel

    if args.panel is None:
        if args.rollouts:
            raise ValueError(
                "--rollouts says which tasks hints were mined from, which only --panel asks for; add it"
            )
        return None
    return find_panel(args.panel)


def _task_keys(args: argparse.Namespace, *found: "LocatedBank") -> dict[str, str]:
    from distill.bank_location import task_keys

    return task_keys([path for bank in found for path in bank.rollouts] + args.rollouts)


def _print_unsourced(bank: "Bank", panel: "Panel | None") -> None:
    """A check that could not be made must not look like one that was passed."""
    number = sum(not hint.sources for hint in bank.hints)
    if panel is not None and number:
        print(f"{number} hints name no failure, so nobody knows whether they come from tasks of {panel.name}")


def _require_new(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise ValueError(f"{path} is there already; name another file, or replace it with --force")


def _width() -> int | None:
    """Columns of the terminal; None in a pipe, where each hint should stay one line."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _add_bank(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bank", metavar="BANK", help="a bank.parquet, a run's folder, or the name of a study that was run"
    )


def _add_two_banks(parser: argparse.ArgumentParser) -> None:
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="a bank.parquet, a run's folder, or the name of a study that was run",
        )


def _add_bank_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="the bank to write, such as bank.parquet"
    )
    _add_force(parser)


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="replace a file that is there")


def _add_panel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--panel",
        metavar="PANEL",
        help="the evaluation panel: a hint mined from one of its tasks is an error",
    )
    parser.add_argument(
        "--rollouts",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="a trajectories.parquet, or its folder, that hints were mined from, for banks that do not name tasks; may be repeated",
    )


def _add_similarity(parser: argparse.ArgumentParser, usual: float | None, text: str) -> None:
    parser.add_argument("--similarity", metavar="N", type=_percentage, default=usual, help=text)


def _percentage(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number
