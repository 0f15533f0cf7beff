"""`offbook track`: a run's numbers to a tracker, while it runs or long afterwards."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_verb

if TYPE_CHECKING:
    from distill.tracking.config import TrackerConfig, TrackerName


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs,
        "track",
        run,
        common,
        text="send a run's metrics.jsonl and report to a tracker; what was sent before is not sent again",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a study's folder, such as runs/demo")
    parser.add_argument("--to", required=True, choices=("tensorboard", "mlflow", "wandb"))
    parser.add_argument(
        "--project", default="offbook", help="W&B's project, MLflow's experiment (default: %(default)s)"
    )
    parser.add_argument("--uri", help="MLflow's server or store; default: what MLflow itself is set to")


def run(args: argparse.Namespace) -> int:
    from distill.tracking.base import require_package
    from distill.tracking.feed import Feed

    config = _config(args.to, args.project, args.uri)
    require_package(args.to)
    feed = Feed(args.run_dir, args.to, config)
    sent = feed.send()
    feed.finish()
    print(f"{args.run_dir}: {sent} new lines sent to {args.to}")
    return EXIT_OK


def _config(to: "TrackerName", project: str, uri: str | None) -> "TrackerConfig":
    from pydantic import ValidationError

    from distill.tracking.config import TrackerConfig

    try:
        return TrackerConfig(to=(to,), project=project, uri=uri)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(first["msg"].removeprefix("Value error, ")) from None
