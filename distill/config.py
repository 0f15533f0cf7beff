"""A study: everything that decides its numbers, in one frozen model. Imports neither ray nor vllm nor torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from actors.config import (
    AgentConfig,
    BudgetConfig,
    EndpointConfig,
    ModelConfig,
    RolloutConfig,
    SamplingConfig,
)
from distill.hints.config import BankConfig, RetrieverConfig, WriterConfig
from envs.config import EnvConfig, GenerateConfig
from envs.registry import spec_of
from train.config import TrainConfig


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


ArmName = Literal["base", "teacher", "baseline", "distill", "teacher_random", "best_of_2"]
STUDENT_ARMS: tuple[ArmName, ...] = ("baseline", "distill", "best_of_2")


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


class StudyConfig(_Frozen):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """Names the run's folder."""
    note: str = ""
    """Shown at the head of the report: what this study can and cannot show."""
    seeds: tuple[int, ...] = (0,)
    """Replicates of the students' training and of the evaluation draws; every arm is evaluated on every task once a seed."""
    train_seed: int = 0
    """Seed of the rollouts on train tasks."""
    arms: tuple[ArmName, ...] = ("base", "teacher", "baseline", "distill", "teacher_random", "best_of_2")
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
    bank: BankConfig = BankConfig()
    retriever: RetrieverConfig = RetrieverConfig()
    best_of_2: BestOfTwoConfig = BestOfTwoConfig()
    dataset: DatasetConfig = DatasetConfig()
    train: TrainConfig = TrainConfig()
    statistics: StatisticsConfig = StatisticsConfig()
    beside: tuple[str, ...] = ()
    """Other studies, by name or file, that run with this one and stand on its report's page, such as the same arms in another environment."""

    @field_validator("seeds")
    @classmethod
    def seeds_are_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds must be one or more different numbers, got {list(seeds)}")
        return seeds

    @model_validator(mode="after")
    def arms_are_complete(self) -> "StudyConfig":
        if "base" not in self.arms:
            raise ValueError("arms must hold 'base': every other arm is compared with it")
        if len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms holds a name twice: {list(self.arms)}")
        if any(arm in STUDENT_ARMS for arm in self.arms) and isinstance(self.model, EndpointConfig):
            raise ValueError(
                f"arms {[arm for arm in self.arms if arm in STUDENT_ARMS]} train adapters, which an OpenAI-compatible endpoint cannot serve; "
                "use model.kind = 'vllm', or keep the arms base, teacher and teacher_random"
            )
        return self

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
