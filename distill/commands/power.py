"""`offbook power`: how many seeds tell a difference on a panel, by simulated studies."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.commands import EXIT_NEGATIVE, EXIT_OK
from distill.commands.shared import Verbs, add_json, add_verb

if TYPE_CHECKING:
    from distill.power import Effect, Planner
    from distill.power_from_run import Measured


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs, "power", run, common, text="say how many seeds a study needs to see a difference in success"
    )
    panel = parser.add_argument_group("the study")
    panel.add_argument("--tasks", metavar="N", type=int, help="tasks of the panel (default: the run's)")
    panel.add_argument("--seeds", metavar="N", type=int, help="judge this number instead of looking for one")
    panel.add_argument(
        "--max-seeds", metavar="N", type=int, default=16, help="give up at (default: %(default)s)"
    )
    panel.add_argument(
        "--comparisons", metavar="M", type=int, help="that Holm corrects for (default: the run's, else 1)"
    )
    effect = parser.add_argument_group("the effect")
    effect.add_argument(
        "--difference",
        metavar="D",
        type=float,
        default=0.05,
        help="in success; 0.05 is 5 points (the default)",
    )
    effect.add_argument("--base-rate", metavar="P", type=float, help="success of the arm compared with")
    effect.add_argument(
        "--from",
        dest="run_dir",
        metavar="RUN_DIR",
        type=Path,
        help="a finished run: measure base rate, discordance and the correlation of seeds in its episodes",
    )
    effect.add_argument(
        "--pair", nargs=2, metavar=("A", "B"), help="arms of that run (default: distill baseline)"
    )
    effect.add_argument(
        "--correlation", metavar="R", type=float, help="of success between two episodes of a task, 0 to 1"
    )
    effect.add_argument(
        "--discordance", metavar="D", type=float, help="share of pairs that only one arm wins"
    )
    promise = parser.add_argument_group("the promise")
    promise.add_argument("--power", metavar="P", type=float, default=0.8, help="default: %(default)s")
    promise.add_argument("--alpha", metavar="P", type=float, default=0.05, help="default: %(default)s")
    promise.add_argument(
        "--studies", metavar="N", type=int, default=2_000, help="simulated (default: %(default)s)"
    )
    promise.add_argument("--seed", metavar="N", type=int, default=0, help="of the simulation")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    _check(args)
    from distill.power import Planner

    effect, measured = _effect(args)
    num_tasks = args.tasks or (measured.num_tasks if measured else None)
    if num_tasks is None:
        raise ValueError(
            "--tasks is missing: how many tasks does the panel have? Or name a finished run with --from"
        )
    planner = Planner(
        num_tasks,
        alpha=args.alpha,
        num_comparisons=args.comparisons or (measured.num_comparisons if measured else 1),
        num_studies=args.studies,
        seed=args.seed,
    )
    answer = _answer(args, planner, effect, measured)
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        _print(answer)
    return EXIT_OK if answer["seeds_needed"] else EXIT_NEGATIVE


def _check(args: argparse.Namespace) -> None:
    if not 0 < abs(args.difference) < 1:
        raise ValueError(
            f"--difference {args.difference:g} is no difference of success rates; give 0.05 for 5 points"
        )
    for name in ("power", "alpha"):
        if not 0 < getattr(args, name) < 1:
            raise ValueError(f"--{name} {getattr(args, name):g} must lie between 0 and 1")
    for name in ("seeds", "max_seeds", "studies"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value} must be 1 or more")
    if args.run_dir and (args.correlation is not None or args.discordance is not None):
        raise ValueError("--from measures --correlation and --discordance; leave them out, or --from")
    if args.pair and not args.run_dir:
        raise ValueError("--pair names arms of a run; add --from RUN_DIR")


def _effect(args: argparse.Namespace) -> "tuple[Effect, Measured | None]":
    if args.run_dir:
        from distill.power_from_run import measure_run

        measured = measure_run(args.run_dir, tuple(args.pair) if args.pair else None)
        return measured.effect(args.difference, args.base_rate), measured
    from distill.power import effect_of

    if args.base_rate is None:
        raise ValueError(
            "--base-rate is missing: the success rate of the arm compared with, or a finished run with --from"
        )
    if args.correlation is None and args.discordance is None:
        raise ValueError(
            "how alike episodes of one task are decides everything: measure it with --from RUN_DIR, or state --correlation or --discordance"
        )
    effect = effect_of(
        args.base_rate, args.difference, correlation=args.correlation, discordance=args.discordance
    )
    return effect, None


def _answer(
    args: argparse.Namespace, planner: "Planner", effect: "Effect", measured: "Measured | None"
) -> dict[str, Any]:
    needed = planner.seeds_needed(effect, args.power, args.max_seeds)
    last = args.seeds or needed or args.max_seeds
    shown = [args.seeds] if args.seeds else list(range(1, min(last, 6) + 1)) + ([last] if last > 6 else [])
    rows = []
    for num_seeds in shown:
        simulated = planner.simulated(effect, num_seeds)
        rows.append(
            {
                "seeds": num_seeds,
                "episodes_per_arm": num_seeds * planner.num_tasks,
                "power": simulated.power,
                "power_ci95": list(simulated.ci95),
                "power_by_formula": planner.by_formula(effect, num_seeds),
                "tasks_needed": planner.tasks_needed(effect, num_seeds, args.power),
            }
        )
    return {
        "tasks": planner.num_tasks,
        "base_rate": effect.rate_b,
        "difference": effect.difference,
        "discordance": effect.discordance,
        "repetition": effect.repetition,
        "power": args.power,
        "alpha": args.alpha,
        "level": planner.level,
        "max_seeds": args.max_seeds,
        "seeds_needed": needed,
        "rows": rows,
        "detectable_difference": planner.detectable(effect, last, args.power),
        "detectable_at_seeds": last,
        "measured": _measured_row(measured),
    }


def _measured_row(measured: "Measured | None") -> dict[str, Any] | None:
    if measured is None:
        return None
    names = ("run", "a", "b", "num_tasks", "num_seeds", "num_pairs", "num_comparisons", "rate_a", "rate_b")
    return {
        name: getattr(measured, name) for name in (*names, "discordance", "correlation_a", "correlation_b")
    }


def _print(answer: dict[str, Any]) -> None:
    from distill.commands.terminal import console, table
    from distill.report import words

    out = console()
    points = 100 * answer["difference"]
    what = f"{abs(points):.3g} points {'up' if points > 0 else 'down'} from {words.percent(answer['base_rate'])} %"
    promise = f"power {answer['power']:g} at level {answer['level']:.3g}"
    if answer["seeds_needed"]:
        needed = answer["seeds_needed"]
        seeds = f"{needed} seed{'s' if needed > 1 else ''}"
        out.print(f"{answer['tasks']:,} tasks need {seeds} to see {what} ({promise})")
    else:
        out.print(
            f"{answer['tasks']:,} tasks do not see {what} with {answer['max_seeds']} seeds or fewer ({promise}); more tasks would"
        )
    headings = (
        "seeds",
        "episodes an arm",
        "power (95 % of the simulation)",
        "by formula",
        "tasks that would do",
    )
    rows = [
        [
            (str(row["seeds"]), ""),
            (f"{row['episodes_per_arm']:,}", ""),
            (f"{row['power']:.3f} ({row['power_ci95'][0]:.3f}-{row['power_ci95'][1]:.3f})", ""),
            (f"{row['power_by_formula']:.3f}", ""),
            (f"{row['tasks_needed']:,}", ""),
        ]
        for row in answer["rows"]
    ]
    out.print(table(headings, rows))
    at, found = answer["detectable_at_seeds"], answer["detectable_difference"]
    seeds = f"{at} seed{'s' if at > 1 else ''}"
    out.print(
        f"smallest difference that {seeds} would see: {words.percent(found)} points"
        if found
        else f"{seeds} would see no difference at all with that power"
    )
    out.print(
        f"assumed: only one arm wins {words.percent(answer['discordance'])} % of pairs; differences of two seeds of a task correlate "
        f"by {answer['repetition']:.2f}"
    )
    if answer["measured"]:
        out.print(_source(answer["measured"]))


def _source(measured: dict[str, Any]) -> str:
    text = (
        f"measured in {measured['run']}: {measured['a']} and {measured['b']}, {measured['num_pairs']:,} pairs of {measured['num_tasks']:,} tasks; "
        f"only one won {100 * measured['discordance']:.1f} %"
    )
    if measured["correlation_a"] is None or measured["correlation_b"] is None:
        return f"{text}. One seed cannot tell how much seeds repeat each other; assumed no more than the arms agree"
    return f"{text}; correlation of a task's seeds {measured['correlation_a']:.2f} and {measured['correlation_b']:.2f}"
