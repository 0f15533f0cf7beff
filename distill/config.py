"""A study: everything that decides its numbers, in one frozen model. Imports neither ray nor vllm nor torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from actors.config import (
    AgentConfig,
    BudgetConfig,
    EndpointConfig,
    ModelConfig,
    RolloutConfig,
    SamplingConfig,
)
from distill.arms import BUILT_IN, REROLL, ArmConfig, HintedArm, StudentArm, built_in
from distill.hints.config import BankConfig, FleetWriterConfig, RetrieverConfig, WriterConfig
from distill.prices import PricesConfig
from distill.tracking.config import TrackerConfig
from envs.config import EnvConfig, GenerateConfig
from envs.registry import spec_of
from train.config import TrainConfig


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TasksConfig(_Frozen):
    """Which tasks of the environment's data; ignored where they are generated (all of them are used)."""

    train: int | str = 480
    """A number of tasks of the train split, balanced over kinds and chosen by hash; or a panel's name or file."""
    test: int | str = 240
    """The held-out panel: a number of tasks of `test_split`, or a panel's name or file."""
    test_split: Literal["dev", "test"] = "test"


class SamplingByStage(_Frozen):
    train: SamplingConfig = SamplingConfig()
    """Rollouts on train tasks: base, re-roll and teacher alike."""
    eval: SamplingConfig = SamplingConfig()
    """Rollouts on the held-out panel, every arm alike."""


class BestOfTwoConfig(_Frozen):
    seed_offset: int = Field(default=1000, ge=1)
    """Added to the train seed for the second, unhinted try at the tasks that base failed."""


LeakPolicy = Literal["fail", "drop", "rewrite"]


class DatasetConfig(_Frozen):
    leaks: LeakPolicy = "fail"
    """What a training row does that says what a hint said: stop the study, stay out and be counted, or lose the sentence that says it (and
    stay out where that is no thought, or where the rest still leaks)."""


class StatisticsConfig(_Frozen):
    resamples: int = Field(default=10_000, ge=100)
    """Bootstrap and permutation draws."""
    seed: int = 0
    comparisons: tuple[tuple[str, str], ...] | None = None
    """Pairs of arms, first minus second; None: the standard ones, and those that the kinds of the study's own arms suggest."""


class StudyConfig(_Frozen):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """Names the run's folder."""
    note: str = ""
    """Shown at the head of the report: what this study can and cannot show."""
    seeds: tuple[int, ...] = (0,)
    """Replicates of the students' training and of the evaluation draws; every arm is evaluated on every task once a seed."""
    train_seed: int = 0
    """Seed of the rollouts on train tasks."""
    arms: tuple[str, ...] = BUILT_IN
    """Built-in names, and names of `[arm.NAME]` tables; every arm plays the same held-out panel under the same seeds."""
    arm: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], ArmConfig] = {}
    """Arms of the study's own, by name."""
    env: EnvConfig
    generate: GenerateConfig | None = None
    """Make what the environment plays on instead of reading it."""
    tasks: TasksConfig = TasksConfig()
    agent: AgentConfig = AgentConfig()
    model: ModelConfig
    budget: BudgetConfig = BudgetConfig()
    sampling: SamplingByStage = SamplingByStage()
    rollout: RolloutConfig = RolloutConfig()
    writer: WriterConfig
    hints_from: AgentConfig | None = None
    """The agent whose failures on the train tasks hints are written from; None: the study's own."""
    bank: BankConfig = BankConfig()
    retriever: RetrieverConfig = RetrieverConfig()
    best_of_2: BestOfTwoConfig = BestOfTwoConfig()
    dataset: DatasetConfig = DatasetConfig()
    train: TrainConfig = TrainConfig()
    statistics: StatisticsConfig = StatisticsConfig()
    prices: PricesConfig = PricesConfig()
    """For sums of money in the report; a model's price here wins over the package's table."""
    tracker: TrackerConfig = TrackerConfig()
    beside: tuple[str, ...] = ()
    """Other studies, by name or file, that run with this one and stand on its report's page, such as the same arms in another environment."""

    @field_validator("seeds")
    @classmethod
    def seeds_are_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds must be one or more different numbers, got {list(seeds)}")
        return seeds

    @model_validator(mode="before")
    @classmethod
    def arms_inherit_the_retriever(cls, settings: Any) -> Any:
        arms = settings.get("arm") if isinstance(settings, Mapping) else None
        if not isinstance(arms, Mapping):
            return settings
        inherited = settings.get("retriever") or {}
        inherited = inherited if isinstance(inherited, Mapping) else inherited.model_dump()
        filled = {
            name: {**arm, "retriever": {**inherited, **(arm.get("retriever") or {})}}
            if isinstance(arm, Mapping) and arm.get("kind") == "hinted"
            else arm
            for name, arm in arms.items()
        }
        return {**settings, "arm": filled}

    @model_validator(mode="after")
    def arms_are_complete(self) -> "StudyConfig":
        if "base" not in self.arms:
            raise ValueError("arms must hold 'base': every other arm is compared with it")
        if len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms holds a name twice: {list(self.arms)}")
        if taken := set(self.arm) & {*BUILT_IN, REROLL}:
            raise ValueError(f"[arm.{min(taken)}] is the name of something built in; give yours another name")
        if unknown := [name for name in self.arms if name not in BUILT_IN and name not in self.arm]:
            raise ValueError(
                f"arms holds {unknown[0]!r}, which is neither built in ({', '.join(BUILT_IN)}) nor an [arm.{unknown[0]}] table"
            )
        if idle := [name for name in self.arm if name not in self.arms]:
            raise ValueError(f"[arm.{idle[0]}] is not played; add {idle[0]!r} to arms, or remove the table")
        if self.students and isinstance(self.model, EndpointConfig):
            raise ValueError(
                f"arms {list(self.students)} train adapters, which an OpenAI-compatible endpoint cannot serve; "
                "use model.kind = 'vllm', or keep the arms base, teacher and teacher_random"
            )
        return self

    @model_validator(mode="after")
    def the_fleet_that_writes_has_engines(self) -> "StudyConfig":
        writer = self.writer
        if (
            isinstance(writer, FleetWriterConfig)
            and not writer.model
            and isinstance(self.model, EndpointConfig)
        ):
            raise ValueError(
                "writer.kind = 'fleet' asks the engines of the study's own model, which an endpoint serves; "
                "use writer.kind = 'openai' with its base_url, or name a model of its own in the [writer.model] table"
            )
        return self

    @model_validator(mode="after")
    def arms_refer_to_arms(self) -> "StudyConfig":
        for name in self.arms:
            arm = self.arm_config(name)
            if isinstance(arm, HintedArm) and arm.student is not None and arm.student not in self.students:
                raise ValueError(
                    f"arm.{name}.student = {arm.student!r} is no student arm of the study; it has {_listed(self.students)}"
                )
            if isinstance(arm, StudentArm):
                self._check_student(name, arm)
        return self

    @model_validator(mode="after")
    def comparisons_name_arms(self) -> "StudyConfig":
        for pair in self.statistics.comparisons or ():
            if strangers := [name for name in pair if name not in self.arms]:
                raise ValueError(
                    f"statistics.comparisons names {strangers[0]!r}, which is no arm of the study; it has {_listed(self.arms)}"
                )
        return self

    def _check_student(self, name: str, arm: StudentArm) -> None:
        for source in arm.sources:
            teacher = self.arm.get(source)
            plays_unaided = isinstance(teacher, HintedArm) and teacher.student is None
            if source not in ("base", REROLL, "teacher", "teacher_random") and not plays_unaided:
                raise ValueError(
                    f"arm.{name}.sources names {source!r}, whose successes cannot be had: it is neither base, {REROLL}, teacher, "
                    "teacher_random nor a hinted arm of the study that plays the model as it is"
                )
        if arm.hint_seen == "drop" and not set(arm.sources) - {"base", REROLL}:
            raise ValueError(
                f"arm.{name}.hint_seen = 'drop', but nobody among its sources {list(arm.sources)} is given hints; remove it"
            )
        if isinstance(arm.rows, str):
            matched = self.arm_config(arm.rows) if arm.rows in self.students else None
            if not isinstance(matched, StudentArm) or arm.rows == name:
                raise ValueError(
                    f"arm.{name}.rows = {arm.rows!r} is no other student arm of the study; it has {_listed(self.students)}"
                )
            if isinstance(matched.rows, str):
                raise ValueError(
                    f"arm.{name}.rows = {arm.rows!r}, whose own rows follow {matched.rows!r}; name that one"
                )

    @property
    def students(self) -> tuple[str, ...]:
        """Arms that are trained, in the order of `arms`."""
        return tuple(name for name in self.arms if isinstance(self.arm_config(name), StudentArm))

    def arm_config(self, name: str) -> HintedArm | StudentArm | None:
        """What an arm of this study is; None for `base`. Raises `KeyError` for a name that is no arm."""
        return built_in(name, self.retriever) if name in BUILT_IN else self.arm[name]

    @model_validator(mode="after")
    def data_comes_from_somewhere(self) -> "StudyConfig":
        spec = spec_of(self.env)
        if self.generate is not None and self.generate.make != spec.makes:
            fitting = f"use make = {spec.makes!r} or remove" if spec.makes else "remove"
            raise ValueError(
                f"generate.make = {self.generate.make!r} is nothing that env.name = {spec.name!r} plays; {fitting} the [generate] table"
            )
        if spec.data and not getattr(self.env, spec.data) and self.generate is None:
            raise ValueError(
                f"env.{spec.data} is empty and there is no [generate] table; name a folder there or generate what is played"
            )
        return self


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
