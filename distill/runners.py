"""What each kind of stage does, given its folder and its inputs' folders. The only place where the four packages meet."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.agents import make_agent
from actors.config import ModelConfig, RolloutConfig
from actors.episode import EpisodeSpec
from actors.fleet_model import FleetModel
from actors.hint_timing import HintTiming
from actors.rollout import Asked, Fleet, RolloutSettings, RolloutSummary, rollout, rollout_all
from actors.store import TRAJECTORIES
from distill.attribution_run import conclude, flips_of, specs_of
from distill.config import StudyConfig
from distill.episode_files import failed_tasks, read_failures, read_trajectories
from distill.examples.of_study import check_examples
from distill.fingerprint import model_fingerprint
from distill.hints.bank import Bank
from distill.hints.config import FleetWriterConfig, RetrieverConfig
from distill.retrieval_run import RetrievalContext, retrieval_counts, retrieve, settings_of
from distill.run_folder import DATA, env_of
from distill.selection import left_out, read_successes, tasks_of_hints
from distill.stages import SHARE, RunTogether, Stage, StageError, StageStore
from distill.strip import RowFilter
from distill.task_choice import choose_panel
from envs.config import EnvConfig
from envs.panel import Panel
from envs.registry import generate, list_tasks, make_panel
from envs.task import Task

log = logging.getLogger(__name__)


class FleetHolder:
    """The engines that run at the moment, started on first use and kept until another model is asked for."""

    def __init__(self) -> None:
        self._fleet: Fleet | None = None
        self._of: tuple[ModelConfig, RolloutConfig] | None = None

    def fleet(self, model: ModelConfig, rollout: RolloutConfig) -> Fleet:
        if self._fleet is None or self._of != (model, rollout):
            self.close()
            self._fleet, self._of = Fleet(model, rollout), (model, rollout)
        return self._fleet

    def free_gpus(self) -> None:
        """Stop engines that hold a GPU's memory; one on CPU costs less idle than started again."""
        if self._fleet is not None and any(info.device != "cpu" for info in self._fleet.infos.values()):
            self.close()

    def close(self) -> None:
        if self._fleet is not None:
            self._fleet.close()
            self._fleet = None


class StudyRunners:
    """The stages' code for one study."""

    def __init__(self, config: StudyConfig, store: StageStore, fleets: FleetHolder):
        self.config = config
        self.store = store
        self._fleets = fleets

    @property
    def runners(self) -> Mapping[str, Callable[[Stage, Path, StageStore], Mapping[str, Any]]]:
        return {
            "tasks": self.tasks,
            "hints": self.hints,
            "dataset": self.dataset,
            "attribution": self.attribution,
        }

    @property
    def together(self) -> Mapping[str, RunTogether]:
        at_once = self.config.rollout.at_once
        # Twice as many as play at a time, so that one is there when another ends; not all, so that finished stages are done for good.
        return {
            "rollout": RunTogether(run=self.rollouts, at_most=2 * at_once if at_once > 1 else 1),
            "fit": RunTogether(run=self.fit),
        }

    def tasks(self, stage: Stage, folder: Path, store: StageStore) -> dict[str, int]:
        """What is played where the study makes it, and both panels."""
        config = self.config
        if config.generate:
            env = generate(config.generate, config.env, folder / DATA)
            train = make_panel(f"{config.name}-train", env, list_tasks(env, "train"))
            test = make_panel(f"{config.name}-test", env, list_tasks(env, "test"))
        else:
            train = choose_panel(f"{config.name}-train", config.tasks.train, "train", config.env)
            test = choose_panel(f"{config.name}-test", config.tasks.test, config.tasks.test_split, config.env)
        shared = {task.key for task in train.tasks} & {task.key for task in test.tasks}
        if shared:
            raise StageError(
                f"train and test panels share {len(shared)} tasks, such as {min(shared)}; choose other panels"
            )
        train.save(folder / "train.panel.json")
        test.save(folder / "test.panel.json")
        return {
            "train tasks": len(train.tasks),
            "test tasks": len(test.tasks),
            "worded alike": num_worded_alike(train.tasks, test.tasks),
        }

    def rollouts(self, stages: Sequence[tuple[Stage, Path]], store: StageStore) -> list[dict[str, Any]]:
        """Every owed episode of some arms on their panels, side by side on one fleet."""
        asked = [self._asked(stage, folder, store) for stage, folder in stages]
        summaries = rollout_all([one for one, _ in asked], self.fleet(), at_once=self.config.rollout.at_once)
        return [
            _counts(summary) | retrieved for summary, (_, retrieved) in zip(summaries, asked, strict=True)
        ]

    def _asked(self, stage: Stage, folder: Path, store: StageStore) -> tuple[Asked, dict[str, int]]:
        """What is to be played, and what choosing its hints took."""
        tasks_folder = store.folder(stage.inputs["tasks"])
        env = env_of(self.config.env, tasks_folder)
        tasks = list(Panel.load(tasks_folder / f"{stage.config['part']}.panel.json").tasks)
        check_examples(self.config, Panel.load(tasks_folder / "test.panel.json"))
        if "failures_of" in stage.inputs:
            failed = set(failed_tasks(store.folder(stage.inputs["failures_of"])).values())
            tasks = [task for task in tasks if task.key in failed]
        retrieved = retrieve(
            stage,
            folder,
            store,
            RetrievalContext(config=self.config, env=env, tasks=tasks, fleet_of=self._fleets.fleet),
        )
        timing = hint_timing(settings_of(stage, self.config)) if stage.config["retriever"] else None
        adapter = store.folder(stage.inputs["adapter"]) / "adapter" if "adapter" in stage.inputs else None
        specs = [
            EpisodeSpec(
                task=task,
                role=_role(stage),
                arm=stage.config["arm"],
                seed=stage.config["seed"],
                hints=retrieved[task].hints if task in retrieved else (),
                timing=timing,
                adapter=str(adapter) if adapter else None,
                adapter_name=stage.inputs["adapter"].key if adapter else None,
            )
            for task in tasks
        ]
        settings = self._settings(env, stage.config["part"])
        if (other := self.config.hints_from) and make_agent(other, env.name).name == stage.config["agent"]:
            settings = replace(settings, agent=other)
        asked = Asked(specs=specs, settings=settings, out_dir=folder)
        return asked, retrieval_counts(retrieved)

    def _settings(self, env: EnvConfig, part: str) -> RolloutSettings:
        config = self.config
        return RolloutSettings(
            env=env,
            agent=config.agent,
            model=config.model,
            budget=config.budget,
            sampling=config.sampling.train if part == "train" else config.sampling.eval,
            rollout=config.rollout,
        )

    def fleet(self) -> Fleet:
        return self._fleets.fleet(self.config.model, self.config.rollout)

    def hints(self, stage: Stage, folder: Path, store: StageStore) -> dict[str, int]:
        """Hints from the failures of the base rollouts, folded into a bank; or a bank that was made elsewhere."""
        if "imported" in stage.config:
            return self._import_hints(stage, folder, store)
        from distill.hints.bank import build_bank
        from distill.hints.writer import CALLS, write_hints

        base = store.folder(stage.inputs["base"])
        failed = failed_tasks(base)
        panel = Panel.load(store.folder(stage.inputs["tasks"]) / "test.panel.json")
        # Where the writer's settings or the base's failures changed, replies to prompts that are the same are not bought again.
        paid_before = sorted(store.root.glob(f"{stage.kind}-*/{CALLS}"))
        writer, generate, model = self.config.writer, None, None
        if isinstance(writer, FleetWriterConfig):
            fleet = self._fleets.fleet(writer.model or self.config.model, self.config.rollout)
            generate, model = FleetModel(fleet), model_fingerprint(fleet.model)
        written = write_hints(
            read_failures(base), writer, folder, generate, model=model, paid_before=paid_before
        )
        bank = build_bank(written, self.config.bank)
        bank.check_sources(panel, failed)
        bank.save(folder / "bank.parquet")
        return {
            "failures": len(failed),
            "hints": sum(h.count for h in bank.hints),
            "distinct hints": len(bank.hints),
        }

    def _import_hints(self, stage: Stage, folder: Path, store: StageStore) -> dict[str, int]:
        assert self.config.bank.file is not None
        read = Bank.load(Path(self.config.bank.file))
        if read.sha256 != stage.config["imported"]:
            raise StageError(f"{self.config.bank.file} has changed since the study was planned; start again")
        bank = read.limited(self.config.bank)
        bank.require_hints()
        bank.check_sources(Panel.load(store.folder(stage.inputs["tasks"]) / "test.panel.json"))
        bank.save(folder / "bank.parquet")
        return {"imported hints": sum(h.count for h in bank.hints), "distinct hints": len(bank.hints)}

    def dataset(self, stage: Stage, folder: Path, store: StageStore) -> dict[str, Any]:
        from actors.models import resolve_model
        from distill.dataset import build_dataset

        sources = [store.folder(source) for source in stage.inputs.values() if source.kind == "rollout"]
        chosen = stage.config.get("selection", {})
        filters = RowFilter.model_validate(chosen.get("filters", {}))
        summary = build_dataset(
            [source / TRAJECTORIES for source in sources],
            agent=self.config.agent,
            env_name=self.config.env.name,
            model_path=str(resolve_model(self.config.model.model)),
            arm=stage.config["arm"],
            out_dir=folder,
            max_length=self.config.train.max_length,
            filters=filters,
            left_out=_left_out(stage, store, sources, filters),
            keep_hints=not chosen.get("strip", True),
            too_long=self.config.train.too_long,
            on_leak=self.config.dataset.leaks,
        )
        return {
            "rows": summary.num_rows,
            "episodes taken": summary.num_taken,
            "tokens": summary.num_tokens,
            "loss_tokens": summary.num_loss_tokens,
        }

    def attribution(self, stage: Stage, folder: Path, store: StageStore) -> dict[str, Any]:
        """Flips of one arm played again with every part of their hints."""
        flips = flips_of(stage, store)
        settings = self._settings(env_of(self.config.env, store.folder(stage.inputs["tasks"])), "test")
        summary = rollout(specs_of(flips), settings, folder, fleet=self.fleet())
        found = conclude(flips, read_trajectories(folder), folder)
        return {
            "flips": len(flips),
            "unstable": found.num_unstable,
            "episodes": summary.episodes,
            "hints": len(found.hints),
        }

    def fit(self, stages: Sequence[tuple[Stage, Path]], store: StageStore) -> list[dict[str, Any]]:
        """All owed adapters in one Ray Train job: its start costs more than a small adapter."""
        from actors.models import resolve_model
        from distill.dataset_card import verify_card
        from train.fit import FitJob, fit_many

        self._fleets.free_gpus()
        for stage, _ in stages:
            verify_card(store.folder(stage.inputs["rows"]))
        jobs = [
            FitJob(
                name=folder.name,
                rows=store.folder(stage.inputs["rows"]) / "tokens.parquet",
                seed=stage.config["seed"],
            )
            for stage, folder in stages
        ]
        model = str(resolve_model(self.config.model.model))
        results = fit_many(self.config.train, model=model, jobs=jobs, out_dir=store.root)
        return [{"steps": r.steps, "tokens": r.tokens, "loss": r.final_loss} for r in results]


def _counts(summary: RolloutSummary) -> dict[str, Any]:
    return {
        "episodes": summary.episodes,
        "successes": summary.successes,
        "errors": summary.errors,
        "prompt_tokens": summary.prompt_tokens,
        "cached_tokens": summary.cached_tokens,
        "completion_tokens": summary.completion_tokens,
        SHARE: summary.prompt_tokens - summary.cached_tokens + summary.completion_tokens,
    }


def hint_timing(config: RetrieverConfig) -> HintTiming | None:
    """What episodes are told of the timing; None: everything at the start."""
    if config.timing.when == "start":
        return None
    return HintTiming(when=config.timing.when, turns=config.timing.turns, k=config.k)


def num_worded_alike(train: Sequence[Task], test: Sequence[Task]) -> int:
    """Test tasks whose instruction, word for word, some train task has as well."""
    known = {task.goal for task in train}
    return sum(task.goal in known for task in test)


def _left_out(stage: Stage, store: StageStore, sources: Sequence[Path], filters: RowFilter) -> dict[str, str]:
    """Episodes that the arm's selection keeps from becoming rows, with the reason."""
    chosen = stage.config.get("selection", {})
    at_most = chosen.get("rows")
    if "as_many_as" in stage.inputs:
        counts = store.manifest(stage.inputs["as_many_as"])["counts"]
        # A dataset that does not count the episodes behind its rows has one row of each.
        at_most = counts.get("episodes taken", counts["rows"])
    seen = None
    if "bank" in stage.inputs:
        seen = tasks_of_hints(Bank.load(store.folder(stage.inputs["bank"]) / "bank.parquet"))
    shortest = chosen.get("shortest", False)
    if not shortest and at_most is None and seen is None:
        return {}
    return left_out(read_successes(sources, filters), shortest=shortest, at_most=at_most, seen=seen)


def _role(stage: Stage) -> str:
    if "adapter" in stage.inputs:
        return "student"
    return "teacher" if "bank" in stage.inputs else "base"
