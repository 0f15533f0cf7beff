"""A study as a list of stages: what depends on what, and what decides each number. Pure; runs nothing.

tasks -> base rollouts -> hints -> teacher rollouts -> datasets -> adapters -> evaluations of every arm on one held-out panel
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.agents import make_agent
from actors.config import BudgetConfig, EngineConfig
from distill.arms import BUILT_IN, REROLL, HintedArm, StudentArm, built_in, same_hints, short_hash
from distill.config import StudyConfig
from distill.examples.of_study import check_examples
from distill.fingerprint import model_fingerprint
from distill.hints.bank import Bank
from distill.hints.config import FleetWriterConfig, RetrieverConfig
from distill.stages import Stage
from distill.task_choice import choose_panel
from envs.registry import spec_of
from train.config import MACHINE_SETTINGS

# Raised by hand when the code of a kind changes what it writes.
VERSIONS = {"tasks": 1, "rollout": 2, "hints": 1, "dataset": 2, "fit": 1}

_MACHINE_SETTINGS = {*MACHINE_SETTINGS, "seed"}
"""Training settings that change where and how safely it runs, not what comes out; `seed` is the stage's own."""


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """The stages of a study in an order that respects their inputs, and the ones that results are read from."""

    tasks: Stage
    train_rollouts: dict[str, Stage]
    """`base`, `reroll` and the hinted arms that students learn from: as far as the arms need them."""
    mined: Stage | None
    """Rollouts whose failures hints are written from, where another agent plays them than the study's own."""
    hints: Stage | None
    datasets: dict[str, Stage]  # by arm
    fits: dict[tuple[str, int], Stage]  # by (arm, seed)
    evaluations: dict[tuple[str, int], Stage]  # by (arm, seed)

    @property
    def stages(self) -> list[Stage]:
        hints = [stage for stage in (self.mined, self.hints) if stage]
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
    students = {name: arm for name in config.arms if isinstance(arm := config.arm_config(name), StudentArm)}
    hinted = [name for name in config.arms if isinstance(config.arm_config(name), HintedArm)]
    sources = list(dict.fromkeys(source for arm in students.values() for source in arm.sources))
    teachers = [source for source in sources if source not in ("base", REROLL)]

    tasks = builder.tasks()
    rollouts: dict[str, Stage] = {}
    hints = None
    writes_hints = bool(hinted or teachers) and config.bank.file is None
    mined = builder.mined_rollout(tasks) if writes_hints and builder.mines_elsewhere else None
    if {"base", REROLL} & {*sources} or (writes_hints and not mined):
        rollouts["base"] = builder.train_rollout("base", tasks)
    if hinted or teachers:
        hints = builder.hints(mined or rollouts["base"]) if writes_hints else builder.imported_hints(tasks)
    if REROLL in sources:
        rollouts[REROLL] = builder.train_rollout(REROLL, tasks, base=rollouts["base"])
    for teacher in teachers:
        rollouts[teacher] = builder.train_rollout(teacher, tasks, bank=hints)

    datasets: dict[str, Stage] = {}
    # An arm whose number of rows follows another's comes after that one.
    for name, arm in sorted(students.items(), key=lambda item: isinstance(item[1].rows, str)):
        datasets[name] = builder.dataset(name, arm, rollouts, hints, datasets)
    fits = {(arm, seed): builder.fit(arm, seed, datasets[arm]) for arm in students for seed in config.seeds}
    evaluations = {
        (arm, seed): builder.evaluation(arm, seed, tasks, hints, fits.get((_player(config, arm), seed)))
        for arm in _by_player(config)
        for seed in config.seeds
    }
    return StudyPlan(
        tasks=tasks,
        train_rollouts=rollouts,
        mined=mined,
        hints=hints,
        datasets=datasets,
        fits=fits,
        evaluations=evaluations,
    )


def _player(config: StudyConfig, name: str) -> str:
    """The student arm whose adapter plays in an arm; "" for the model as it is."""
    arm = config.arm_config(name)
    if isinstance(arm, StudentArm):
        return name
    return (arm.student if arm else None) or ""


def _by_player(config: StudyConfig) -> list[str]:
    # Arms without an adapter come first and each adapter's episodes stay together: swapping weights empties the prefix cache.
    players = ["", *config.students]
    return sorted(config.arms, key=lambda name: players.index(_player(config, name)))


def _decisive(budget: BudgetConfig) -> dict[str, Any]:
    """What of a budget decides where an episode ends; a limit that is not set is left out, so that new ones keep the keys of old stages."""
    unset = {name for name in ("max_invalid", "max_seconds") if getattr(budget, name) is None}
    return budget.model_dump(mode="json", exclude={"turn_timeout_s", *unset})


def retrieval_content(config: RetrieverConfig) -> dict[str, Any]:
    """What decides which hints are given, for a stage's key: models by their content, wherever they lie."""
    content: dict[str, Any] = dict(config.decisive)
    if config.name == "embedding":
        assert config.embedding_model is not None
        content["embedding_model"] = model_fingerprint(EngineConfig(model=config.embedding_model))
    # The study's own model stands in the stage's content already.
    if config.name == "llm" and config.llm.model is not None:
        content["llm"] = {**config.llm.decisive, "model": model_fingerprint(config.llm.model)}
    return content


class _Builder:
    """Makes stages whose `config` holds exactly what decides their output, and nothing of this machine (paths, numbers of hosts)."""

    def __init__(self, config: StudyConfig):
        self.config = config
        self.model = model_fingerprint(config.model)
        self.agent = make_agent(config.agent, config.env.name).name
        other = config.hints_from and make_agent(config.hints_from, config.env.name).name
        self.miner = other or self.agent
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
            check_examples(config, test)
            self.num_train, self.num_test = len(train.tasks), len(test.tasks)
            content |= {"train": train.sha256, "test": test.sha256}
        return Stage(
            name="tasks",
            kind="tasks",
            version=VERSIONS["tasks"],
            config=content,
            estimate={"train tasks": self.num_train, "test tasks": self.num_test},
        )

    def label(self, name: str) -> str:
        """What stages call an arm: its built-in name, or what it does, so that studies which name the same work differently share it."""
        arm = self.config.arm.get(name)
        if arm is None:
            return name
        if isinstance(arm, StudentArm):
            alike = arm.model_copy(
                update={
                    "sources": tuple(self.label(source) for source in arm.sources),
                    "rows": self.label(arm.rows) if isinstance(arm.rows, str) else arm.rows,
                }
            )
            twins = (twin for twin in BUILT_IN if built_in(twin, self.config.retriever) == alike)
            return next(
                twins, f"student-{'-'.join(alike.sources)}-{short_hash(alike.model_dump(mode='json'))}"
            )
        twins = (twin for twin in BUILT_IN if same_hints(built_in(twin, self.config.retriever), arm))
        content = retrieval_content(arm.retriever)
        hints = f"{arm.retriever.name}-k{content['k']}-{short_hash(content)}"
        return next(twins, f"{self.label(arm.student)}-{hints}" if arm.student else hints)

    def train_rollout(
        self, name: str, tasks: Stage, *, base: Stage | None = None, bank: Stage | None = None
    ) -> Stage:
        seed = self.config.train_seed + (self.config.best_of_2.seed_offset if name == REROLL else 0)
        inputs = {"tasks": tasks} | ({"failures_of": base} if base else {}) | ({"bank": bank} if bank else {})
        return self._rollout(
            f"train-{name}",
            inputs,
            arm=self.label(name),
            seed=seed,
            part="train",
            retriever=self._retriever(name) if bank else None,
        )

    @property
    def mines_elsewhere(self) -> bool:
        return self.miner != self.agent

    def mined_rollout(self, tasks: Stage) -> Stage:
        """The base rollouts of the agent that hints are taken from; a study of that agent shares them."""
        return self._rollout(
            "train-mined",
            {"tasks": tasks},
            arm="base",
            seed=self.config.train_seed,
            part="train",
            retriever=None,
            agent=self.miner,
        )

    def evaluation(self, arm: str, seed: int, tasks: Stage, bank: Stage | None, fit: Stage | None) -> Stage:
        inputs: dict[str, Stage] = {"tasks": tasks}
        retriever = self._retriever(arm)
        if retriever:
            assert bank is not None
            inputs["bank"] = bank
        if fit:
            inputs["adapter"] = fit
        return self._rollout(
            f"eval-{arm}-s{seed}",
            inputs,
            arm=self.label(arm),
            seed=seed,
            part="test",
            retriever=retriever,
        )

    def _retriever(self, name: str) -> RetrieverConfig | None:
        # An arm that nobody plays on the panel may still teach: `sources = ["teacher"]` without the arm `teacher`.
        arm = None if name == REROLL else self.config.arm_config(name)
        return arm.retriever if isinstance(arm, HintedArm) else None

    def _rollout(
        self,
        name: str,
        inputs: dict[str, Stage],
        *,
        arm: str,
        seed: int,
        part: str,
        retriever: RetrieverConfig | None,
        agent: str | None = None,
    ) -> Stage:
        sampling = self.config.sampling.train if part == "train" else self.config.sampling.eval
        content = {
            "arm": arm,
            "agent": agent or self.agent,
            "env": self.env,
            "model": self.model,
            "budget": _decisive(self.config.budget),
            "sampling": sampling.model_dump(mode="json"),
            "seed": seed,
            "part": part,
            "retriever": retrieval_content(retriever) if retriever else None,
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
        writer = self.config.writer
        decisive = writer.decisive
        if isinstance(writer, FleetWriterConfig):
            decisive["model"] = model_fingerprint(writer.model) if writer.model else self.model
        content = {
            "writer": decisive,
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

    def dataset(
        self,
        name: str,
        arm: StudentArm,
        rollouts: dict[str, Stage],
        bank: Stage | None,
        datasets: dict[str, Stage],
    ) -> Stage:
        content: dict[str, Any] = {
            "arm": self.label(name),
            "agent": self.agent,
            "model": self.model,
            "max_length": self.config.train.max_length,
            "too_long": self.config.train.too_long,
            "leaks": self.config.dataset.leaks,
        }
        inputs = {self.label(source): rollouts[source] for source in arm.sources}
        chosen = arm.model_dump(mode="json", exclude={"kind", "sources", "rows"}, exclude_defaults=True)
        if isinstance(arm.rows, int):
            chosen["rows"] = arm.rows
        if isinstance(arm.rows, str):
            inputs["as_many_as"] = datasets[arm.rows]
        if arm.hint_seen == "drop":
            assert bank is not None
            inputs["bank"] = bank
        if chosen:
            content["selection"] = chosen
        return Stage(
            name=f"rows-{name}", kind="dataset", version=VERSIONS["dataset"], config=content, inputs=inputs
        )

    def fit(self, arm: str, seed: int, rows: Stage) -> Stage:
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
