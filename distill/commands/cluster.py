"""`offbook cluster`: write what a launcher wants to be told of a cluster; start one, run a study there, look, and end it."""

import argparse
import sys
from pathlib import Path

from distill.commands import EXIT_NEGATIVE, EXIT_OK
from distill.commands.shared import (
    Verbs,
    add_study,
    add_subverbs,
    add_verb,
    load_beside,
    load_study,
    load_study_at,
)

_LAUNCHERS = ("ray", "kuberay", "slurm", "skypilot")


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(verbs, "cluster", None, common, text="describe a cluster to a launcher, or use one")
    subverbs = add_subverbs(parser)
    _add_render(subverbs, common)
    _add_launched(
        add_verb(
            subverbs,
            "up",
            run_up,
            common,
            text="start a cluster's head with Ray's launcher, or bring it up to date",
        )
    )
    submit = add_verb(
        subverbs,
        "submit",
        run_submit,
        common,
        text="run a study on a cluster's head, which goes on without this terminal",
    )
    add_study(submit)
    _add_launched(submit)
    _add_launched(
        add_verb(subverbs, "status", run_status, common, text="show a cluster's nodes and what they wait for")
    )
    down = add_verb(subverbs, "down", run_down, common, text="end every node of a cluster, the head included")
    _add_launched(down)
    down.add_argument("--yes", action="store_true", help="do not ask first")


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


def _add_launched(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster",
        metavar="FILE",
        type=Path,
        default=Path("ray_cluster.yaml"),
        help="a file of Ray's launcher, as `offbook cluster render ray` writes it (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run none")


def run_render(args: argparse.Namespace) -> int:
    from distill.launch.render import idle_gpus, render, write_out
    from distill.launch.spec import load_cluster
    from distill.launch.study_on_cluster import cluster_study

    spec = load_cluster(args.spec)
    study = None
    if args.study:
        config = load_study_at(args.study)
        study = cluster_study(config, load_beside(config, args.study), has_gpus=spec.has_gpus)
    text = render(args.launcher, spec, study)
    write_out(text, args.out)
    if spec.placeholders:
        print(f"to be filled in, for it is an example: {', '.join(spec.placeholders)}", file=sys.stderr)
    if study is not None and (idle := idle_gpus(args.launcher, spec, study)):
        print(idle, file=sys.stderr)
    return EXIT_OK


def run_up(args: argparse.Namespace) -> int:
    from distill.launch.ray_commands import check_filled_in, environment_on_disk, read_cluster, up_commands

    cluster = read_cluster(args.cluster)
    if args.dry_run:
        return _show(up_commands(cluster))
    check_filled_in(cluster)
    with environment_on_disk(cluster) as unset:
        if unset:
            print(f"not set here, so not on the nodes: {', '.join(unset)}", file=sys.stderr)
        return _call(up_commands(cluster))


def run_submit(args: argparse.Namespace) -> int:
    from distill.launch.demands import check_fit
    from distill.launch.ray_commands import environment_on_disk, read_cluster, submit_commands, write_files
    from distill.launch.study_on_cluster import cluster_study

    cluster = read_cluster(args.cluster)
    config = load_study(args)
    study = cluster_study(config, load_beside(config, args.study), has_gpus=cluster.has_gpus)
    for one in study.all:
        check_fit(one, cluster.name, cluster.types)
    commands = submit_commands(cluster, study)
    if args.dry_run:
        return _show(commands)
    with environment_on_disk(cluster, study.environment):
        write_files(study, cluster.study_folder(study))
        _call(commands)
    print(f"{config.name} runs on {cluster.name}; look in with: ray attach --tmux {cluster.file}")
    return EXIT_OK


def run_status(args: argparse.Namespace) -> int:
    from distill.launch.ray_commands import read_cluster, status_commands

    commands = status_commands(read_cluster(args.cluster))
    return _show(commands) if args.dry_run else _call(commands)


def run_down(args: argparse.Namespace) -> int:
    from distill.launch.ray_commands import down_commands, read_cluster

    cluster = read_cluster(args.cluster)
    if args.dry_run:
        return _show(down_commands(cluster))
    if not args.yes and not _is_sure(
        f"end every node of {cluster.name}? what is not in its runs is lost [y/N] "
    ):
        print("nothing was ended", file=sys.stderr)
        return EXIT_NEGATIVE
    return _call(down_commands(cluster))


def _is_sure(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        # A pipe without an answer is no consent.
        return False


def _show(commands: list[list[str]]) -> int:
    from distill.launch.ray_commands import shown

    print(shown(commands))
    return EXIT_OK


def _call(commands: list[list[str]]) -> int:
    from distill.launch.ray_commands import call

    call(commands)
    return EXIT_OK
