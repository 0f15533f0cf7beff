"""A study as a list of stages: what depends on what, and what decides each number. Pure; runs nothing.

tasks -> base rollouts -> hints -> teacher rollouts -> datasets -> adapters -> evaluations of every arm on one held-out panel
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.agents import make_agent
from distill.config import STUDENT_ARMS, ArmName, StudyConfig
from distill.fingerprint import model_fingerprint
from distill.hints.bank import Bank
from distill.hints.config import RetrieverConfig
from distill.stages import Stage
from distill.task_choice import choose_panel
from envs.registry import spec_of

# Raised by hand when the code of a kind changes what it writes.
VERSIONS = {"tasks": 1, "rollout": 2, "hints": 1, "dataset": 1, "fit": 1}

_MACHINE_SETTINGS = {"use_gpu", "cpus_per_worker", "threads", "checkpoint_every", "max_restarts", "seed"}
"""Training settings that change where and how safely it runs, not what comes out; `seed` is the stage's own."""

_DATA_SOURCES = {"baseline": ("base",), "distill": ("teacher",), "best_of_2": ("base", "reroll")}
"""Train-task rollouts whose successes make a student's rows."""


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """The stages of a study in an order that respects their inputs, and the ones that results are read from."""

    tasks: Stage
    train_rollouts: dict[str, Stage]
    """`base`, `reroll`, `teacher`: as far as the arms need them."""
    hints: Stage | None
    datasets: dict[ArmName, Stage]
    fits: dict[tuple[ArmName, int], Stage]  # by (arm, seed)
    evaluations: dict[tuple[ArmName, int], Stage]  # by (arm, seed)

    @property
    def stages(self) -> list[Stage]:
        hints = [self.hints] if self.hints else []
        base = [stage for name, stage in self.train_rollouts.items() if name == "base"]
        rest = [stage for name, stage in self.train_rollouts.items() if name != "base"]
        return [
            self.tasks,
            *base,
            *hints,
            *rest,
            *self.datasets.values(),
            *self.fits.values(),
            *self.evaluations.values(),
        ]


def plan_stages(config: StudyConfig) -> StudyPlan:
    """The study's stages with their keys. Reads the data's and the model's hashes; runs nothing."""
    builder = _Builder(config)
    students = [arm for arm in STUDENT_ARMS if arm in config.arms]
    needs_hints = any(arm in config.arms for arm in ("teacher", "distill", "teacher_random"))

    tasks = builder.tasks()
    rollouts: dict[str, Stage] = {}
    hints = None
    imports_hints = config.bank.file is not None
    if any(arm in config.arms for arm in ("baseline", "best_of_2")) or (needs_hints and not imports_hints):
        rollouts["base"] = builder.train_rollout("base", tasks)
    if needs_hints:
        hints = builder.imported_hints(tasks) if imports_hints else builder.hints(rollouts["base"])
    if "best_of_2" in config.arms:
        rollouts["reroll"] = builder.train_rollout("reroll", tasks, base=rollouts["base"])
    if "distill" in config.arms:
        rollouts["teacher"] = builder.train_rollout("teacher", tasks, bank=hints)

    datasets = {
        arm: builder.dataset(arm, {name: rollouts[name] for name in _DATA_SOURCES[arm]}) for arm in students
    }
    fits = {(arm, seed): builder.fit(arm, seed, datasets[arm]) for arm in students for seed in config.seeds}
    # Arms without an adapter come first and each adapter's episodes stay together: swapping weights empties the prefix cache.
    ordered = [arm for arm in config.arms if arm not in STUDENT_ARMS] + students
    evaluations = {
        (arm, seed): builder.evaluation(arm, seed, tasks, hints, fits.get((arm, seed)))
        for arm in ordered
        for seed in config.seeds
    }
    return StudyPlan(
        tasks=tasks,
        train_rollouts=rollouts,
        hints=hints,
        datasets=datasets,
        fits=fits,
        evaluations=evaluations,
    )


class _Builder:
    """Makes stages whose `config` holds exactly what decides their output, and nothing of this machine (paths, numbers of hosts)."""

    def __init__(self, config: StudyConfig):
        self.config = config
        self.model = model_fingerprint(config.model)
        self.agent = make_agent(config.agent, config.env.name).name
        self.env = config.env.model_dump(mode="json", exclude={spec_of(config.env).data})
        self.num_train = config.generate.train if config.generate else 0
        self.num_test = config.generate.test if config.generate else 0

    def tasks(self) -> Stage:
        config = self.config
        content: dict[str, Any] = {"env": self.env}
        if config.generate:
            content["generate"] = config.generate.model_dump(mode="json")
        else:
            train = choose_panel(f"{config.name}-train", config.tasks.train, "train", config.env)
            test = choose_panel(f"{config.name}-test", config.tasks.test, config.tasks.test_split, config.env)
            self.num_train, self.num_test = len(train.tasks), len(test.tasks)
            content |= {"train": train.sha256, "test": test.sha256}
        return Stage(
            name="tasks",
            kind="tasks",
            version=VERSIONS["tasks"],
            config=content,
            estimate={"train tasks": self.num_train, "test tasks": self.num_test},
        )

    def train_rollout(
        self, name: str, tasks: Stage, *, base: Stage | None = None, bank: Stage | None = None
    ) -> Stage:
        seed = self.config.train_seed + (self.config.best_of_2.seed_offset if name == "reroll" else 0)
        inputs = {"tasks": tasks} | ({"failures_of": base} if base else {}) | ({"bank": bank} if bank else {})
        retriever = self.config.retriever if bank else None
        return self._rollout(f"train-{name}", inputs, arm=name, seed=seed, part="train", retriever=retriever)

    def evaluation(
        self, arm: ArmName, seed: int, tasks: Stage, bank: Stage | None, fit: Stage | None
    ) -> Stage:
        inputs: dict[str, Stage] = {"tasks": tasks}
        retriever = None
        if arm in ("teacher", "teacher_random"):
            assert bank is not None
            inputs["bank"] = bank
            name = self.config.retriever.name if arm == "teacher" else "other_kind"
            retriever = self.config.retriever.model_copy(update={"name": name})
        if fit:
            inputs["adapter"] = fit
        return self._rollout(
            f"eval-{arm}-s{seed}", inputs, arm=arm, seed=seed, part="test", retriever=retriever
        )

    def _rollout(
        self,
        name: str,
        inputs: dict[str, Stage],
        *,
        arm: str,
        seed: int,
        part: str,
        retriever: RetrieverConfig | None,
    ) -> Stage:
        sampling = self.config.sampling.train if part == "train" else self.config.sampling.eval
        content = {
            "arm": arm,
            "agent": self.agent,
            "env": self.env,
            "model": self.model,
            "budget": self.config.budget.model_dump(mode="json", exclude={"turn_timeout_s"}),
            "sampling": sampling.model_dump(mode="json"),
            "seed": seed,
            "part": part,
            "retriever": retriever.model_dump(mode="json") if retriever else None,
        }
        episodes = self.num_train if part == "train" else self.num_test
        return Stage(
            name=name,
            kind="rollout",
            version=VERSIONS["rollout"],
            config=content,
            inputs=inputs,
            estimate={"episodes at most" if "failures_of" in inputs else "episodes": episodes},
        )

    def hints(self, base: Stage) -> Stage:
        content = {
            "writer": self.config.writer.decisive,
            "bank": self.config.bank.model_dump(mode="json", exclude={"file"}),
        }
        return Stage(
            name="hints",
            kind="hints",
            version=VERSIONS["hints"],
            config=content,
            inputs={"base": base, "tasks": base.inputs["tasks"]},
        )

    def imported_hints(self, tasks: Stage) -> Stage:
        """A bank's content decides, not the file that holds it."""
        assert self.config.bank.file is not None
        content = {
            "imported": Bank.load(Path(self.config.bank.file)).sha256,
            "bank": self.config.bank.model_dump(mode="json", exclude={"file", "similarity"}),
        }
        return Stage(
            name="hints", kind="hints", version=VERSIONS["hints"], config=content, inputs={"tasks": tasks}
        )

    def dataset(self, arm: ArmName, sources: dict[str, Stage]) -> Stage:
        content = {
            "arm": arm,
            "agent": self.agent,
            "model": self.model,
            "max_length": self.config.train.max_length,
            "too_long": self.config.train.too_long,
        }
        return Stage(
            name=f"rows-{arm}", kind="dataset", version=VERSIONS["dataset"], config=content, inputs=sources
        )

    def fit(self, arm: ArmName, seed: int, rows: Stage) -> Stage:
        content = {
            "train": self.config.train.model_dump(mode="json", exclude=_MACHINE_SETTINGS),
            "seed": seed,
            "model": self.model,
        }
        return Stage(
            name=f"fit-{arm}-s{seed}",
            kind="fit",
            version=VERSIONS["fit"],
            config=content,
            inputs={"rows": rows},
        )
