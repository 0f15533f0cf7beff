"""`offbook cluster`: write what a launcher wants to be told of a cluster; start one, run a study there, look, and end it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_subverbs, add_verb, load_beside, load_study_at

if TYPE_CHECKING:
    from distill.launch.spec import ClusterSpec
    from distill.launch.study_on_cluster import ClusterStudy

_LAUNCHERS = ("ray", "kuberay", "slurm", "skypilot")


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(verbs, "cluster", None, common, text="describe a cluster to a launcher, or use one")
    subverbs = add_subverbs(parser)
    _add_render(subverbs, common)


def _add_render(subverbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        subverbs, "render", run_render, common, text="write the file that a launcher starts a cluster from"
    )
    parser.add_argument("launcher", choices=_LAUNCHERS)
    _add_spec(parser)
    parser.add_argument(
        "--study", metavar="STUDY", help="the study to run; checked against what the cluster has"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="write here instead of to stdout")


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--spec",
        metavar="FILE",
        default="aws",
        help="a description of a cluster, or the name of one that ships with Offbook (default: %(default)s)",
    )


def run_render(args: argparse.Namespace) -> int:
    from distill.launch.render import render, write_out
    from distill.launch.spec import load_cluster

    spec = load_cluster(args.spec)
    text = render(args.launcher, spec, _study(args.study, spec) if args.study else None)
    write_out(text, args.out)
    if spec.placeholders:
        print(f"to be filled in, for it is an example: {', '.join(spec.placeholders)}", file=sys.stderr)
    return EXIT_OK


def _study(name: str, spec: "ClusterSpec") -> "ClusterStudy":
    from distill.launch.study_on_cluster import cluster_study

    config = load_study_at(name)
    has_gpus = any(kind.gpus for kind in spec.node.values())
    return cluster_study(config, load_beside(config, name), has_gpus=has_gpus)
