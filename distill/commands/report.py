"""`offbook report`: a finished run's table again."""

import argparse
import json
from pathlib import Path
from typing import Any

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_verb


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(verbs, "report", run, common, text="print a finished run's table and where its page is")
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a study's folder, such as runs/demo")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    print_results(args.run_dir, as_json=args.json)
    return EXIT_OK


def print_results(run_dir: Path, *, as_json: bool) -> None:
    """The table and the page's place, or `results.json` as it is.

    Raises:
        ValueError: `run_dir` holds no finished run.
    """
    results = read_results(run_dir)
    if as_json:
        print(json.dumps(results, indent=1, ensure_ascii=False))
        return
    from distill.commands.terminal import console
    from distill.report.table import results_table

    out = console()
    out.print(results_table(results))
    page = run_dir / "report" / "report.html"
    if page.is_file():
        out.print(f"\n{page}")


def read_results(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "report" / "results.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete {run_dir / 'report'} and run the study again"
        ) from None
    if (run_dir / "run.json").is_file():
        raise ValueError(
            f"{run_dir} is not finished: it has no {path.relative_to(run_dir)} yet; run the study again to go on"
        )
    nearby = sorted(str(p.parent) for p in (run_dir if run_dir.is_dir() else Path("runs")).glob("*/run.json"))
    raise ValueError(
        f"{run_dir} is no run: it holds no run.json" + (f"; runs here: {', '.join(nearby)}" if nearby else "")
    )
