"""What the ledger needs of a study whose stages are done: what each stage took, what each arm rests on, and what it is priced at."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.config import EndpointConfig, EngineConfig, ModelConfig
from distill.config import StudyConfig
from distill.hints.bank import Bank
from distill.hints.config import DiagnosticianConfig, FleetWriterConfig, OpenAIWriterConfig
from distill.hints.writer import SUMMARY
from distill.ledger import ArmCost, StageCost, StudyCosts
from distill.prices import TokenPrice
from distill.stages import Stage, StageStore
from distill.study import StudyPlan

_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")
COSTLY = ("rollout", "hints", "fit")
"""Kinds of stage that take tokens; making tasks and rows takes none."""


def study_costs(config: StudyConfig, plan: StudyPlan, store: StageStore) -> StudyCosts:
    before = {arm: _upstream(plan.evaluations[arm, config.seeds[0]]) for arm in config.arms}
    needed = {stage.key: stage for stages in before.values() for stage in stages}
    names = _names(plan)
    return StudyCosts(
        stages={names[key]: _stage_cost(stage, config, store) for key, stage in needed.items()},
        arms={
            arm: _arm_cost(arm, tuple(names[stage.key] for stage in stages), config, plan, store)
            for arm, stages in before.items()
        },
        prices=_prices_in_use(config),
    )


def gpus_of(config: StudyConfig, stage: Stage) -> int:
    """GPUs held while the stage runs. Engines of device "auto" count where training uses GPUs: the machine that plans may be another."""
    if stage.kind == "fit":
        return config.train.num_workers if config.train.use_gpu else 0
    if stage.kind == "rollout":
        return _gpus_of_engines(config.model, config)
    if (
        stage.kind == "hints"
        and isinstance(config.writer, FleetWriterConfig)
        and "imported" not in stage.config
    ):
        return _gpus_of_engines(config.writer.model or config.model, config)
    return 0


def _gpus_of_engines(model: ModelConfig, config: StudyConfig) -> int:
    if not isinstance(model, EngineConfig):
        return 0
    on_gpu = model.device == "cuda" or (model.device == "auto" and config.train.use_gpu)
    return model.replicas * model.tensor_parallel_size if on_gpu else 0


def _names(plan: StudyPlan) -> dict[str, str]:
    """By key. A student of several seeds is one student here: the first seed's fit stands for it."""
    return {stage.key: stage.name for stage in reversed(plan.stages)}


def _upstream(stage: Stage) -> list[Stage]:
    """Stages that take tokens and that this one rests on, each once, the first to run first."""
    found = {source.key: source for source in _walk(stage) if source.kind in COSTLY}
    return list(found.values())


def _walk(stage: Stage) -> Iterator[Stage]:
    for source in stage.inputs.values():
        yield from _walk(source)
        yield source


def _stage_cost(stage: Stage, config: StudyConfig, store: StageStore) -> StageCost:
    return stage_cost(stage, config, store.folder(stage), store.manifest(stage))


def stage_cost(stage: Stage, config: StudyConfig, folder: Path, manifest: Mapping[str, Any]) -> StageCost:
    """Of a finished stage of a kind that costs something."""
    counts, seconds = manifest["counts"], manifest["seconds"]
    gpu_seconds = gpus_of(config, stage) * seconds
    if stage.kind == "hints":
        return _writing_cost(stage, config, folder, counts, seconds)
    if stage.kind == "fit":
        training = int(counts["tokens"])
        usd = _gpu_usd(config, gpu_seconds)
        return StageCost(
            kind="fit", training_tokens=training, seconds=seconds, gpu_seconds=gpu_seconds, usd=usd
        )
    tokens = {name: int(counts[name]) for name in _TOKENS}
    retrieval = (int(counts.get(f"retrieval_{name}", 0)) for name in ("prompt_tokens", "completion_tokens"))
    tokens["prompt_tokens"] += next(retrieval)
    tokens["completion_tokens"] += next(retrieval)
    price = _price_of_model(config)
    return StageCost(
        kind="rollout",
        **tokens,
        seconds=seconds,
        gpu_seconds=gpu_seconds,
        usd=_gpu_usd(config, gpu_seconds) if price is None else _token_usd(price, **tokens),
        facts={"episodes": counts["episodes"]},
    )


def _writing_cost(
    stage: Stage, config: StudyConfig, folder: Path, counts: dict[str, Any], seconds: float
) -> StageCost:
    if "imported" in stage.config:
        return _imported_cost(Bank.load(folder / "bank.parquet"), seconds, counts)
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    tokens = {name: int(summary[name]) for name in ("prompt_tokens", "completion_tokens")}
    writer, gpu_seconds, usd = config.writer, 0.0, None
    if isinstance(writer, DiagnosticianConfig):
        usd = 0.0
    elif isinstance(writer, FleetWriterConfig):
        gpu_seconds = gpus_of(config, stage) * seconds
        usd = _gpu_usd(config, gpu_seconds)
    else:
        price = config.prices.token_price(writer.model)
        # What the writer itself was told to pay is what its budget was held against.
        usd = float(summary["usd"]) or (_token_usd(price, **tokens) if price else None)
    return StageCost(kind="hints", **tokens, seconds=seconds, gpu_seconds=gpu_seconds, usd=usd, facts=counts)


def _imported_cost(bank: Bank, seconds: float, counts: dict[str, Any]) -> StageCost:
    """What a bank that was written elsewhere says that it took; hints of one reply share its tokens."""
    replies = {
        (writing.source, writing.writer, writing.prompt_sha256): writing
        for hint in bank.hints
        for writing in hint.lineage
    }
    prompt = sum(writing.prompt_tokens for writing in replies.values())
    completion = sum(writing.completion_tokens for writing in replies.values())
    usd = sum(writing.usd for writing in replies.values())
    return StageCost(
        kind="hints",
        prompt_tokens=prompt,
        completion_tokens=completion,
        seconds=seconds,
        usd=usd or None,
        facts=counts,
    )


def _arm_cost(
    arm: str, before: tuple[str, ...], config: StudyConfig, plan: StudyPlan, store: StageStore
) -> ArmCost:
    manifests = [store.manifest(plan.evaluations[arm, seed]) for seed in config.seeds]
    counted = {
        name: sum(int(m["counts"].get(name, 0)) for m in manifests)
        for name in ("retrieval_prompt_tokens", "retrieval_completion_tokens")
    }
    return ArmCost(
        before=before,
        **counted,
        usd_per_token=_usd_per_token(_price_of_model(config)),
        usd=_gpu_usd(config, _gpus_of_engines(config.model, config) * sum(m["seconds"] for m in manifests)),
    )


def _price_of_model(config: StudyConfig) -> TokenPrice | None:
    return config.prices.token_price(config.model.model) if isinstance(config.model, EndpointConfig) else None


def _usd_per_token(price: TokenPrice | None) -> tuple[float, float, float] | None:
    """A new prompt token, a cached one and a written one."""
    if price is None:
        return None
    return (
        price.usd(prompt=1, cached=0, completion=0),
        price.usd(prompt=1, cached=1, completion=0),
        price.usd(prompt=0, cached=0, completion=1),
    )


def _token_usd(
    price: TokenPrice, *, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0
) -> float:
    return price.usd(prompt=prompt_tokens, cached=cached_tokens, completion=completion_tokens)


def _gpu_usd(config: StudyConfig, gpu_seconds: float) -> float | None:
    """None on processors too: what they cost, nobody said."""
    per_hour = config.prices.usd_per_gpu_hour
    return None if per_hour is None or gpu_seconds == 0 else per_hour * gpu_seconds / 3600


def _prices_in_use(config: StudyConfig) -> dict[str, Any]:
    models = {
        part.model: price.model_dump(mode="json")
        for part in (config.model, config.writer)
        if isinstance(part, EndpointConfig | OpenAIWriterConfig)
        if (price := config.prices.token_price(part.model)) is not None
    }
    gpu = {
        name: getattr(config.prices, name)
        for name in ("usd_per_gpu_hour", "gpu_hour_date", "gpu_hour_source")
        if config.prices.usd_per_gpu_hour is not None
    }
    return gpu | models
