"""What the training of a study's students will need of each GPU, and for how long: from its rows where they are written, else assumed."""

from typing import Any

import pyarrow.parquet as pq

from actors.config import EngineConfig
from actors.models import resolve_model
from distill.config import StudyConfig
from distill.stages import Stage, StageStore
from distill.study import StudyPlan
from train.forecast import Memory, RowLengths, TrainingForecast, forecast_training
from train.gpus import DEFAULT_GPU, gpu_named
from train.lengths import context_of, row_limit
from train.shape import ModelShape

_TOKENS = "tokens.parquet"
_ASSUMED_LONGEST = 4_096
_ASSUMED_MEAN = 0.5
"""Of the longest row."""
_ASSUMED_LOSS = 0.25
"""Of a row's tokens: replies are short beside what they answer."""


def forecast_students(
    config: StudyConfig, plan: StudyPlan, store: StageStore, gpu: str | None
) -> TrainingForecast | None:
    """Of the arm with the most tokens; None where nothing is trained, or on processors unless a GPU is named.

    Raises `ValueError` for a GPU or an architecture that is not known.
    """
    asked = gpu is not None or config.train.use_gpu
    if not plan.fits or not asked or not isinstance(config.model, EngineConfig):
        return None
    folder = str(resolve_model(config.model.model))
    rows = [_measured(stage, store) or _assumed(config, plan, folder) for stage in plan.datasets.values()]
    return forecast_training(
        config.train,
        ModelShape.read(folder),
        max(rows, key=lambda r: r.work.num_tokens),
        gpu=gpu_named(gpu or DEFAULT_GPU),
    )


def _measured(stage: Stage, store: StageStore) -> RowLengths | None:
    if not store.is_done(stage):
        return None
    table = pq.read_table(store.folder(stage) / _TOKENS, columns=["num_tokens", "num_loss_tokens"])
    return RowLengths.measured(
        table["num_tokens"].to_pylist(), sum(table["num_loss_tokens"].to_pylist()), f"measured: {stage.name}"
    )


def _assumed(config: StudyConfig, plan: StudyPlan, folder: str) -> RowLengths:
    assert isinstance(config.model, EngineConfig)
    reach = config.model.max_model_len or context_of(folder) or _ASSUMED_LONGEST
    longest = row_limit(config.train, min(reach, context_of(folder) or reach)) or _ASSUMED_LONGEST
    return RowLengths(
        num_rows=max(1, int(plan.tasks.estimate["train tasks"])),
        longest=longest,
        mean=_ASSUMED_MEAN * longest,
        root_mean_square=_ASSUMED_MEAN * longest * 1.15,  # of lengths spread evenly up to the longest
        loss_share=_ASSUMED_LOSS,
        origin="assumed, as the rows are not written yet: one row a train task, of half the longest on average",
    )


def training_document(found: TrainingForecast, num_adapters: int) -> dict[str, Any]:
    """The same as JSON."""
    assert found.gpu is not None
    memory = {name: round(getattr(found.memory, name)) for name in Memory.__slots__}
    return {
        "gpu": found.gpu.name,
        "parameters": found.parameters,
        "adapter_parameters": found.adapter_parameters,
        "bytes_per_gpu": memory | {"total": round(found.memory.total)},
        "fits": found.fits,
        "hours_per_adapter": found.hours,
        "adapters": num_adapters,
        "assumptions": list(found.assumptions),
    }


def training_lines(found: TrainingForecast, num_adapters: int) -> list[str]:
    """For the terminal."""
    assert found.gpu is not None
    parts = ", ".join(
        f"{name} {getattr(found.memory, name) / 1e9:.1f}"
        for name in Memory.__slots__
        if getattr(found.memory, name) >= 5e7
    )
    fits = "fits" if found.fits else "does NOT fit"
    lines = [
        f"training: {found.parameters / 1e9:.2f} B parameters, {found.adapter_parameters / 1e6:.1f} M of them trained (LoRA)",
        f"  {found.memory.total / 1e9:.1f} GB a GPU at the peak, {fits} in {found.gpu.memory_gb:g} GB of a {found.gpu.name}: {parts}",
    ]
    if found.hours is None:
        lines.append(
            "  hours are not foretold: the table of GPUs has no peak for float32; set train.dtype = 'bfloat16'"
        )
    else:
        lines.append(
            f"  about {found.hours:.2g} h an adapter, {found.hours * num_adapters:.2g} h for {num_adapters}; start-up is not in it"
        )
    if not found.fits:
        lines.append(
            "  what helps: train.gradient_checkpointing, a smaller train.micro_batch_rows or train.packing with train.block_tokens, "
            "train.zero_stage = 3 on more train.num_workers, train.quantize = 'nf4'"
        )
    return lines + [f"  assumes {assumption}" for assumption in found.assumptions]
