"""Run a study or a grid of them, or say what running it would do."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from distill.ablation import Ablation
from distill.arms import HintedArm
from distill.atomic import write_atomically
from distill.attribution_found import find_attributions
from distill.attribution_run import attribution_stage
from distill.config import StudyConfig
from distill.outlets import RunOutlets
from distill.run_metrics import append_metrics
from distill.stages import Stage, StageStatus, StageStore, content_hash, run_stages
from distill.study import StudyPlan, plan_stages

if TYPE_CHECKING:
    from distill.runners import FleetHolder

log = logging.getLogger(__name__)


def run_study(
    config: StudyConfig, out: Path, *, address: str | None = None, beside: Sequence[StudyConfig] = ()
) -> Path:
    """Do what is owed of the study and write its report; returns the run's folder, `out/<study>`.

    Studies `beside` it are run as well, each in its own folder, and stand on its page. Stages' folders live in `out/store` and are shared
    by all studies of `out`. May be killed and called again at any moment.
    """
    store = StageStore(out / "store")
    planned = [(study, plan_stages(study)) for study in (*beside, config)]
    outlets = [RunOutlets(out / study.name, study, plan, store) for study, plan in planned]
    with _Workplace(planned, store, address) as workplace:
        for (study, plan), outlet in zip(planned[:-1], outlets[:-1], strict=True):
            workplace.run(study, plan, out, outlet.update)
            _write_report(out / study.name, study, plan, store)
            outlet.finish()
        workplace.run(*planned[-1], out, outlets[-1].update)
    _write_report(out / config.name, *planned[-1], store, planned[:-1])
    outlets[-1].finish()
    return out / config.name


def run_ablation(ablation: Ablation, out: Path, *, address: str | None = None) -> Path:
    """Do what is owed of every cell on one cluster, one engine fleet a model; returns the folder of the joint report, `out/<name>`.

    Each cell is a study of its own as well, with its folder and its report.
    """
    from distill.ablation_report import write_ablation_report

    store = StageStore(out / "store")
    planned = [(cell.config, plan_stages(cell.config)) for cell in ablation.cells]
    outlets = [RunOutlets(out / config.name, config, plan, store) for config, plan in planned]
    with _Workplace(planned, store, address) as workplace:
        for (config, plan), outlet in zip(planned, outlets, strict=True):
            workplace.run(config, plan, out, outlet.update)
            _write_report(out / config.name, config, plan, store)
            outlet.finish()
    made_from = _made_from(planned, store)
    report = out / ablation.name / "report"
    if not _is_up_to_date(report, made_from):
        write_ablation_report(ablation, [plan for _, plan in planned], store, report)
        write_atomically(report / "made_from", made_from + "\n")
    return out / ablation.name


def run_attribution(
    config: StudyConfig, out: Path, arm: str, *, num_flips: int | None = None, address: str | None = None
) -> Path:
    """Play an arm's wins over base again with every part of their hints; returns the folder that holds `attribution.json`.

    Raises `StageError` where the study's own episodes are not there yet.
    """
    store, plan = StageStore(out / "store"), plan_stages(config)
    stage = attribution_stage(config, plan, arm, num_flips)
    for source in stage.inputs.values():
        store.manifest(source)
    with _Workplace([(config, plan)], store, address) as workplace:
        workplace.run_stages(config, [stage])
    append_metrics(out / config.name, [stage], plan, store)
    _show_attribution(out / config.name, config, plan, store)
    return store.folder(stage)


def run_students_with_hints(
    config: StudyConfig,
    out: Path,
    students: Sequence[str],
    teacher: str,
    *,
    address: str | None = None,
) -> dict[str, list[Path]]:
    """Let students play the held-out panel with the teacher's hints in the prompt; by student, the rollouts' folders, one a seed.

    They are stages like those of an arm that the study had named itself. Raises `StageError` where the study's own are not there yet.
    """
    names = {student: _unused(f"{student}_hinted", config) for student in students}
    wider = with_hinted_students(config, names, teacher)
    store, plan = StageStore(out / "store"), plan_stages(wider)
    played = {
        student: [plan.evaluations[name, seed] for seed in config.seeds] for student, name in names.items()
    }
    stages = [stage for own in played.values() for stage in own]
    for stage in stages:
        for source in stage.inputs.values():
            store.manifest(source)
    with _Workplace([(wider, plan)], store, address) as workplace:
        workplace.run_stages(wider, stages)
    return {student: [store.folder(stage) for stage in own] for student, own in played.items()}


def with_hinted_students(config: StudyConfig, names: Mapping[str, str], teacher: str) -> StudyConfig:
    """The study with an arm more for each student (arm names by student) that gives it the teacher's hints."""
    about = config.arm_config(teacher)
    assert isinstance(about, HintedArm)
    arms = {name: HintedArm(retriever=about.retriever, student=student) for student, name in names.items()}
    settings = config.model_dump(mode="json")
    return StudyConfig.model_validate(
        settings
        | {"arms": [*config.arms, *arms]}
        | {"arm": settings["arm"] | {name: arm.model_dump(mode="json") for name, arm in arms.items()}}
    )


def _unused(name: str, config: StudyConfig) -> str:
    while name in config.arms:
        name += "_"
    return name


def plan_study(config: StudyConfig, out: Path) -> list[StageStatus]:
    """Every stage with what is there of it already."""
    store = StageStore(out / "store")
    return [store.status(stage) for stage in plan_stages(config).stages]


class _Workplace:
    """One Ray cluster and one holder of engines for several studies, started when the first of them owes something."""

    def __init__(
        self, planned: Sequence[tuple[StudyConfig, StudyPlan]], store: StageStore, address: str | None
    ):
        self._store, self._address = store, address
        self._num_cpus = max(_logical_cpus(config) for config, _ in planned)
        self._open = ExitStack()
        self._fleets: FleetHolder | None = None

    def run(self, config: StudyConfig, plan: StudyPlan, out: Path, progressed: Callable[[], None]) -> None:
        """Do what is owed of one study; `progressed` is called at the start and whenever stages have ended."""
        _write_run(out / config.name, config, plan, self._store)
        progressed()
        self.run_stages(config, plan.stages, progressed)

    def run_stages(
        self, config: StudyConfig, stages: Sequence[Stage], progressed: Callable[[], None] = lambda: None
    ) -> None:
        if all(self._store.is_done(stage) for stage in stages):
            return
        # Imported here: a fully cached study and `plan` need neither ray nor vllm.
        from distill.cluster import ray_cluster
        from distill.runners import FleetHolder, StudyRunners

        if self._fleets is None:
            self._open.enter_context(ray_cluster(self._num_cpus, self._address))
            self._fleets = FleetHolder()
            self._open.callback(self._fleets.close)
        runners = StudyRunners(config, self._store, self._fleets)
        run_stages(stages, self._store, runners.runners, runners.together, progressed=progressed)

    def __enter__(self) -> "_Workplace":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


def _logical_cpus(config: StudyConfig) -> int:
    engines = getattr(config.model, "replicas", 0)
    # One for the writer and the data pipeline's tasks beside what is asked for.
    return engines + config.rollout.at_once * config.rollout.num_hosts + config.train.num_workers + 2


def _write_run(run_dir: Path, config: StudyConfig, plan: StudyPlan, store: StageStore) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    resolved = config.model_dump(mode="json")
    document = {
        "config": resolved,
        "config_sha256": content_hash(resolved),
        "store": "../store",
        "stages": {stage.name: stage.folder_name for stage in plan.stages},
        "estimates": {stage.name: dict(stage.estimate) for stage in plan.stages if stage.estimate},
    }
    write_atomically(run_dir / "run.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _write_report(
    run_dir: Path,
    config: StudyConfig,
    plan: StudyPlan,
    store: StageStore,
    beside: Sequence[tuple[StudyConfig, StudyPlan]] = (),
) -> None:
    """Unless it was made from the very same stages and settings before."""
    from distill.study_report import write_study_report

    made_from = _made_from([(config, plan), *beside], store)
    report = run_dir / "report"
    if not _is_up_to_date(report, made_from):
        write_study_report(config, plan, store, report, beside)
        write_atomically(report / "made_from", made_from + "\n")


def _show_attribution(run_dir: Path, config: StudyConfig, plan: StudyPlan, store: StageStore) -> None:
    """Put the credit on the study's page, where there is one."""
    if not (run_dir / "report" / "results.json").exists():
        return
    if config.beside:
        log.info(
            "run %s again to see the credit in its report, on whose page other studies stand", config.name
        )
        return
    _write_report(run_dir, config, plan, store)


def _made_from(studies: Sequence[tuple[StudyConfig, StudyPlan]], store: StageStore) -> str:
    from distill.study_report import REPORT_VERSION

    parts = [
        [
            # Who is told of a study changes nothing that its report says.
            study.model_dump(mode="json", exclude={"tracker"}),
            [stage.key for stage in plan.stages],
            {arm: folder.name for arm, folder in find_attributions(study, plan, store).items()},
        ]
        for study, plan in studies
    ]
    return content_hash([REPORT_VERSION, *parts])


def _is_up_to_date(report: Path, made_from: str) -> bool:
    mark = report / "made_from"
    if mark.exists() and mark.read_text().strip() == made_from:
        log.info("the report is up to date: %s", report)
        return True
    return False
