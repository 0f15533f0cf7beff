"""`offbook examples`: solved train tasks to show in the prompt."""

import argparse
from pathlib import Path

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_study, add_subverbs, add_verb, load_study


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(verbs, "examples", None, common, text="make or show examples for few-shot prompts")
    subverbs = add_subverbs(parser)
    make = add_verb(
        subverbs,
        "make",
        run_make,
        common,
        text="play train tasks of a study again, by their walkthroughs or by recorded successes, and write them down as examples",
    )
    add_study(make)
    make.add_argument(
        "--from",
        dest="sources",
        metavar="PATH",
        type=Path,
        action="append",
        default=[],
        help="recorded trajectories (Parquet, or a folder of it) whose successes are played again; may be repeated",
    )
    make.add_argument(
        "--per-kind",
        metavar="N",
        type=int,
        default=3,
        help="examples of each kind of task; one more than agent.shots, since no task is shown itself (default: %(default)s)",
    )
    make.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="the file to write, .jsonl (default: the study's agent.examples)",
    )
    show = add_verb(
        subverbs, "show", run_show, common, text="print the prompt that a study's agent begins with"
    )
    add_study(show)
    show.add_argument(
        "--kind",
        metavar="KIND",
        default="",
        help="kind of the task, whose examples come first (default: none)",
    )


def run_make(args: argparse.Namespace) -> int:
    from actors.agents.examples import content_hash, write_examples
    from distill.examples.of_study import examples_of_study

    if args.per_kind < 1:
        raise ValueError(f"--per-kind must be 1 or more, not {args.per_kind}")
    config = load_study(args)
    out = args.out or (Path(config.agent.examples) if config.agent.examples else None)
    if out is None:
        raise ValueError(f"study {config.name!r} sets no agent.examples; say where to write with --out")
    examples = examples_of_study(config, per_kind=args.per_kind, sources=args.sources)
    write_examples(examples, out.expanduser())
    kinds = len({example.task.kind for example in examples})
    print(f"{out}: {len(examples)} examples of {kinds} kinds, {content_hash(examples)[:12]}")
    return EXIT_OK


def run_show(args: argparse.Namespace) -> int:
    from actors.agents import make_agent
    from envs.task import Task

    config = load_study(args)
    agent = make_agent(config.agent, config.env.name)
    task = Task(env=config.env.name, split="test", id="", kind=args.kind, goal="")
    print(f"# {agent.name}, stops at {list(agent.stop)}")
    for message in agent.render(task, "<the world's first words>", (), ()):
        print(f"\n[{message.role}]\n{message.content}")
    return EXIT_OK
