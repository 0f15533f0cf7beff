"""`offbook plan`: which stages of a study are there, begun or owed. Runs nothing."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.commands import EXIT_OK
from distill.commands.shared import Verbs, add_json, add_out, add_study, add_verb, load_beside, load_study

if TYPE_CHECKING:
    from distill.config import StudyConfig
    from distill.stages import StageStatus
    from train.forecast import TrainingForecast

_STYLES = {"cached": "green", "partial": "yellow", "to do": "cyan"}


def add_to(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = add_verb(
        verbs, "plan", run, common, text="show which stages of a study are cached and which would run"
    )
    add_study(parser)
    add_out(parser)
    add_json(parser)
    parser.add_argument(
        "--pilot",
        metavar="RUN_DIR",
        type=Path,
        help="a finished run of the same study with fewer tasks: say what the owed stages will take, judged by it",
    )
    parser.add_argument(
        "--usd-per-gpu-hour",
        metavar="USD",
        type=float,
        help="with --pilot: what a GPU costs you, for a sum in dollars; the study's own prices.usd_per_gpu_hour where left out",
    )
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        help="what training will run on, such as H100: say what it needs of each and for how long (A100-80GB where train.use_gpu is set)",
    )


def run(args: argparse.Namespace) -> int:
    config = load_study(args)
    if args.pilot is not None:
        _forecast(config, args)
        return EXIT_OK
    if args.usd_per_gpu_hour is not None:
        raise ValueError("--usd-per-gpu-hour needs --pilot RUN_DIR: hours are judged by a finished pilot")
    from distill.pipeline import plan_study

    planned = {
        study.name: plan_study(study, args.out) for study in (config, *load_beside(config, args.study))
    }
    if args.json:
        documents = [
            {
                "study": name,
                "stages": [{"name": s.name, "key": s.key, "state": s.state, "note": s.note} for s in stages],
            }
            for name, stages in planned.items()
        ]
        told = documents[0] | {"beside": documents[1:]} | _training_document(config, args)
        print(json.dumps(told, indent=1, ensure_ascii=False))
        return EXIT_OK
    for name, stages in planned.items():
        _print(stages, name if len(planned) > 1 else "")
    for line in _training_lines(config, args):
        print(line)
    return EXIT_OK


def _training_document(config: "StudyConfig", args: argparse.Namespace) -> dict[str, Any]:
    from distill.training_forecast import training_document

    try:
        found, num_adapters = _training(config, args)
    except ValueError as error:
        if args.gpu is not None:
            raise
        return {"training": {"error": str(error)}}
    return {"training": training_document(found, num_adapters)} if found else {}


def _training_lines(config: "StudyConfig", args: argparse.Namespace) -> list[str]:
    from distill.training_forecast import training_lines

    try:
        found, num_adapters = _training(config, args)
    except ValueError as error:
        if args.gpu is not None:
            raise
        return [f"training: nothing is foretold: {error}"]
    return training_lines(found, num_adapters) if found else []


def _training(config: "StudyConfig", args: argparse.Namespace) -> "tuple[TrainingForecast | None, int]":
    if args.gpu is None and not config.train.use_gpu:
        return None, 0
    from distill.stages import StageStore
    from distill.study import plan_stages
    from distill.training_forecast import forecast_students

    plan = plan_stages(config)
    return forecast_students(config, plan, StageStore(args.out / "store"), args.gpu), len(plan.fits)


def _print(stages: "list[StageStatus]", title: str) -> None:
    from distill.commands.terminal import console, table

    out = console()
    if title:
        out.print(f"\n{title}")
    rows_text = [
        ((s.name, ""), (s.key, "dim"), (s.state, _STYLES.get(s.state, "")), (s.note, "")) for s in stages
    ]
    out.print(table(("stage", "key", "state", "note"), rows_text))
    counts = Counter(s.state for s in stages)
    out.print(", ".join(f"{count} {state}" for state, count in counts.items()))


def _forecast(config: "StudyConfig", args: argparse.Namespace) -> None:
    from distill.commands.terminal import console, table
    from distill.forecast import Pilot, forecast
    from distill.stages import StageStore
    from distill.study import plan_stages

    pilot = Pilot.load(args.pilot)
    owed = forecast(config, plan_stages(config), StageStore(args.out / "store"), pilot)
    total: dict[str, Any] = {
        "episodes": round(sum(f.episodes for f in owed)),
        "prompt_tokens": round(sum(f.prompt_tokens for f in owed)),
        "completion_tokens": round(sum(f.completion_tokens for f in owed)),
        "hours": sum(f.hours for f in owed),
        "gpu_hours": sum(f.gpu_hours for f in owed),
    }
    per_hour = args.usd_per_gpu_hour if args.usd_per_gpu_hour is not None else config.prices.usd_per_gpu_hour
    if per_hour is not None:
        total["usd"] = total["gpu_hours"] * per_hour
    if args.json:
        stages = [
            {
                "name": f.name,
                "episodes": round(f.episodes),
                "prompt_tokens": round(f.prompt_tokens),
                "completion_tokens": round(f.completion_tokens),
                "hours": f.hours,
                "gpu_hours": f.gpu_hours,
            }
            for f in owed
        ]
        print(
            json.dumps(
                {"study": config.name, "pilot": pilot.name, "stages": stages, "total": total}, indent=1
            )
        )
        return
    out = console()
    headings = ("stage", "episodes", "prompt tokens", "written", "hours", "GPU hours")
    rows = [(f.name, f.episodes, f.prompt_tokens, f.completion_tokens, f.hours, f.gpu_hours) for f in owed]
    rows.append(("in all", *(total[key] for key in list(total)[:5])))
    out.print(
        table(
            headings,
            [
                [
                    (name, ""),
                    *((f"{n:,.0f}", "") for n in counts),
                    *((f"{h:.2f}", "") for h in (hours, gpu_hours)),
                ]
                for name, *counts, hours, gpu_hours in rows
            ],
        )
    )
    if "usd" in total and total["gpu_hours"]:
        out.print(f"{total['usd']:,.2f} USD at {per_hour:g} a GPU hour")
    elif "usd" in total:
        out.print("no USD: no stage of this study asks for a GPU")
    out.print(f"judged by the pilot {pilot.name}; what is cached costs nothing and is not listed")
