"""Run a study, or say what running it would do."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from distill.atomic import write_atomically
from distill.config import StudyConfig
from distill.stages import StageStatus, StageStore, content_hash, run_stages
from distill.study import StudyPlan, plan_stages

log = logging.getLogger(__name__)


def run_study(
    config: StudyConfig, out: Path, *, address: str | None = None, beside: Sequence[StudyConfig] = ()
) -> Path:
    """Do what is owed of the study and write its report; returns the run's folder, `out/<study>`.

    Studies `beside` it are run as well, each in its own folder, and stand on its page. Stages' folders live in `out/store` and are shared
    by all studies of `out`. May be killed and called again at any moment.
    """
    for other in beside:
        run_study(other, out, address=address)
    store = StageStore(out / "store")
    plan = plan_stages(config)
    run_dir = out / config.name
    run_dir.mkdir(parents=True, exist_ok=True)
    _write_run(run_dir, config, plan, store)
    if not all(store.is_done(stage) for stage in plan.stages):
        _run_owed(config, plan, store, address)
    _write_report(run_dir, config, plan, store, [(other, plan_stages(other)) for other in beside])
    return run_dir


def plan_study(config: StudyConfig, out: Path) -> list[StageStatus]:
    """Every stage with what is there of it already."""
    store = StageStore(out / "store")
    return [store.status(stage) for stage in plan_stages(config).stages]


def _run_owed(config: StudyConfig, plan: StudyPlan, store: StageStore, address: str | None) -> None:
    # Imported here: a fully cached study and `plan` need neither ray nor vllm.
    from distill.cluster import ray_cluster
    from distill.runners import StudyRunners

    with ray_cluster(_logical_cpus(config), address):
        runners = StudyRunners(config, store)
        try:
            run_stages(plan.stages, store, runners.runners, runners.together)
        finally:
            runners.close()


def _logical_cpus(config: StudyConfig) -> int:
    engines = getattr(config.model, "replicas", 0)
    # One for the writer and the data pipeline's tasks beside what is asked for.
    return engines + config.rollout.num_hosts + config.train.num_workers + 2


def _write_run(run_dir: Path, config: StudyConfig, plan: StudyPlan, store: StageStore) -> None:
    resolved = config.model_dump(mode="json")
    document = {
        "config": resolved,
        "config_sha256": content_hash(resolved),
        "store": "../store",
        "stages": {stage.name: stage.folder_name for stage in plan.stages},
    }
    write_atomically(run_dir / "run.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _write_report(
    run_dir: Path,
    config: StudyConfig,
    plan: StudyPlan,
    store: StageStore,
    beside: Sequence[tuple[StudyConfig, StudyPlan]],
) -> None:
    """Unless it was made from the very same stages and settings before."""
    from distill.study_report import REPORT_VERSION, write_study_report

    made_from = content_hash(
        [REPORT_VERSION]
        + [
            [study.model_dump(mode="json"), [stage.key for stage in stages.stages]]
            for study, stages in ((config, plan), *beside)
        ]
    )
    mark = run_dir / "report" / "made_from"
    if mark.exists() and mark.read_text().strip() == made_from:
        log.info("the report is up to date: %s", run_dir / "report")
        return
    write_study_report(config, plan, store, run_dir / "report", beside)
    write_atomically(mark, made_from + "\n")
