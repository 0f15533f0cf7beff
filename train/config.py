"""Settings of one fine-tuning run. Imports neither torch nor ray."""

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class TrainConfig(BaseModel):
    """LoRA fine-tuning with Ray Train and DeepSpeed. The result does not depend on `num_workers`,
    `micro_batch_rows` or `zero_stage` beyond rounding (and dropout's draws)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=ATTENTION_AND_MLP, min_length=1)
    """Names of the linear layers that get an adapter."""

    lr: float = Field(default=2e-4, gt=0)
    """Peak learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """What follows the warm-up; `linear` and `cosine` end at zero."""
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps."""
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    """None: gradients are not clipped."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    epochs: int = Field(default=2, ge=1)
    batch_rows: int = Field(default=8, ge=1)
    """Rows of one optimiser step, over all workers."""
    micro_batch_rows: int = Field(default=1, ge=1)
    """Rows that one worker computes at once; the number of accumulated micro-batches follows from it."""
    max_length: int = Field(default=4096, ge=8)
    """Tokens of the longest row. A row is never cut."""
    too_long: Literal["error", "skip"] = "error"
    """What a row past `max_length` does; skipped rows are counted in the result."""

    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the weights and the arithmetic; AdamW's state is float32 either way."""
    gradient_checkpointing: bool = False
    zero_stage: Literal[1, 2, 3] = 2
    seed: int = 0
    """Order of the rows, the adapter's first values and dropout. A job's own seed takes its place."""

    num_workers: int = Field(default=2, ge=1)
    use_gpu: bool = False
    """One GPU a worker."""
    cpus_per_worker: float = Field(default=1, gt=0)
    threads: int = Field(default=1, ge=1)
    """Arithmetic threads of one worker on CPU."""
    checkpoint_every: int | None = Field(default=50, ge=1)
    """Optimiser steps between two checkpoints; None keeps no checkpoint."""
    max_restarts: int = Field(default=2, ge=0)
    """Times that a crash of a worker restarts the group from its last checkpoint."""

    @property
    def fingerprint(self) -> str:
        """Hash of all settings: two runs with equal fingerprints, models, rows and seeds make one adapter."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


# The published ALFWorld run (arXiv 2510.01375), but for what it did by mistake: it cut rows at 1,024
# tokens, put loss on observations, and quantised the base to 4 bits.
_PAPER: dict[str, object] = {
    "rank": 64,
    "alpha": 128,
    "dropout": 0.10,
    "lr": 2e-4,
    "schedule": "linear",
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "epochs": 1,
    "batch_rows": 8,
    "micro_batch_rows": 2,
    "max_length": 8192,
    "gradient_checkpointing": True,
    "use_gpu": True,
    "num_workers": 1,
    "seed": 42,
}
_PAPER_WEBSHOP = _PAPER | {
    "rank": 16,
    "alpha": 32,
    "dropout": 0.20,
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
}

PRESETS: dict[str, dict[str, object]] = {
    # For instruct models of 7B and more, on GPUs.
    "recommended": {"use_gpu": True, "num_workers": 1, "gradient_checkpointing": True, "epochs": 2},
    "paper": _PAPER,
    "paper-webshop": _PAPER_WEBSHOP,
    # The few-million-parameter model that ships with Offbook, on two CPU workers.
    "pocket": {
        "rank": 16,
        "alpha": 32,
        "lr": 1e-3,
        "epochs": 4,
        "batch_rows": 8,
        "micro_batch_rows": 4,
        "max_length": 2048,
        "dtype": "float32",
        "num_workers": 2,
        "checkpoint_every": 100,
    },
}


def preset(name: str, **changes: object) -> TrainConfig:
    """The named settings with `changes` on top."""
    if name not in PRESETS:
        raise ValueError(f"unknown training preset {name!r}; choose one of {', '.join(sorted(PRESETS))}")
    return TrainConfig.model_validate(PRESETS[name] | changes)
