"""Retrieval of a rollout stage: which settings it means, whom it asks, and what it counts. Plays nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actors.chat import Generate
from actors.config import EndpointConfig, EngineConfig, ModelConfig, RolloutConfig
from actors.models import resolve_model
from distill.arms import BUILT_IN, HintedArm
from distill.atomic import write_atomically
from distill.config import StudyConfig
from distill.fingerprint import model_fingerprint
from distill.hints.bank import Bank
from distill.hints.config import RetrieverConfig
from distill.printable import visible_json
from distill.stages import Stage, StageStore
from distill.study import retrieval_content
from envs.config import EnvConfig
from envs.registry import gold_plan, open_env
from envs.task import Task

if TYPE_CHECKING:
    from actors.fleet import Fleet
    from distill.hints.retrievers import Aids, RankingModel, Retrieval
    from distill.hints.retrievers.filler import CountTokens

CALLS = "retrieval_calls.jsonl"
"""What a ranking model answered, so that no start of this or another stage asks it again."""
RETRIEVAL = "retrieval.jsonl"
"""What each task was given by a ranking model, and what choosing it cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalContext:
    config: StudyConfig
    env: EnvConfig
    """On the data that is played."""
    tasks: Sequence[Task]
    fleet_of: "Callable[[ModelConfig, RolloutConfig], Fleet]"


def retrieve(
    stage: Stage, folder: Path, store: StageStore, context: RetrievalContext
) -> "dict[Task, Retrieval]":
    """What every task of a rollout stage is given, best first and enough for every showing; {} for a stage without hints."""
    if stage.config["retriever"] is None:
        return {}
    from distill.hints.retrievers import retrieve_all

    bank = Bank.load(store.folder(stage.inputs["bank"]) / "bank.parquet")
    bank.require_hints()
    settings = settings_of(stage, context.config)
    aids = _aids(settings, folder, store.root, context)
    enough = settings.model_copy(update={"k": settings.k * settings.timing.showings})
    found = retrieve_all(enough, bank, _openings(context), aids)
    if settings.name == "llm":
        write_atomically(folder / RETRIEVAL, "".join(_line(task, one) for task, one in found.items()))
    return found


def retrieval_counts(found: "Mapping[Task, Retrieval]") -> dict[str, int]:
    """For the manifest; {} where no model was asked. Tokens count for every episode that they chose for, whoever paid for the reply."""
    if not any(one.num_calls for one in found.values()):
        return {}
    every = found.values()
    return {
        "retrieval_prompt_tokens": sum(one.prompt_tokens for one in every),
        "retrieval_completion_tokens": sum(one.completion_tokens for one in every),
        "retrieval_calls": sum(one.num_calls for one in every),
        "retrieval_repairs": sum(one.num_repairs for one in every),
        "retrieval_tournaments": sum(one.num_rounds > 1 for one in every),
        "retrieval_fallbacks": sum(one.fell_back for one in every),
    }


def settings_of(stage: Stage, config: StudyConfig) -> RetrieverConfig:
    """The study's settings that the stage was planned with, those that decide nothing included."""
    arms = (config.arm_config(name) for name in (*config.arms, *BUILT_IN))
    known = [config.retriever, *(arm.retriever for arm in arms if isinstance(arm, HintedArm))]
    return next(one for one in known if retrieval_content(one) == stage.config["retriever"])


def _openings(context: RetrievalContext) -> dict[Task, str]:
    world = open_env(context.env)
    try:
        return {task: world.reset(task, seed=0).observation for task in context.tasks}
    finally:
        world.close()


def _aids(settings: RetrieverConfig, folder: Path, root: Path, context: RetrievalContext) -> "Aids":
    from distill.hints.retrievers import Aids

    if settings.name == "filler":
        return Aids(count_tokens=_token_counter(context.config.model))
    if settings.name == "oracle":
        return Aids(gold_plan=lambda task: _in_words(gold_plan(context.env, task)))
    if settings.name == "llm":
        return Aids(model=_ranking_model(settings.llm.model or context.config.model, folder, root, context))
    return Aids()


def _token_counter(model: ModelConfig) -> "CountTokens":
    """The playing model's own tokens; words for a model whose tokenizer is not at hand."""
    from distill.hints.retrievers.filler import count_words

    if not isinstance(model, EngineConfig):
        return count_words
    from actors.tokenizer import load_tokenizer

    # With PyTorch, unlike in env hosts: another stage of this process may need it for an encoder.
    tokenizer = load_tokenizer(resolve_model(model.model))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _in_words(plan: Sequence[str]) -> str:
    return f"These actions, in this order, solve this very task: {'; '.join(plan)}."


def _ranking_model(model: ModelConfig, folder: Path, root: Path, context: RetrievalContext) -> "RankingModel":
    from distill.hints.call_cache import CallCache
    from distill.hints.retrievers import RankingModel

    def open_model() -> Generate:
        if isinstance(model, EndpointConfig):
            from actors.openai_chat import OpenAIOnce

            return OpenAIOnce(model)
        from actors.fleet_model import FleetModel

        return FleetModel(context.fleet_of(model, context.config.rollout))

    # Other seeds of an arm ask the same questions, and so do other studies.
    cache = CallCache(folder / CALLS, sorted(root.glob(f"*/{CALLS}")))
    return RankingModel(open=open_model, name=model_fingerprint(model), cache=cache)


def _line(task: Task, found: "Retrieval") -> str:
    return visible_json({"task": task.key, **asdict(found)}) + "\n"
