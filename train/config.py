"""Settings of one fine-tuning run. Imports neither torch nor ray."""

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MACHINE_SETTINGS = frozenset(
    {
        "num_workers",
        "min_workers",
        "use_gpu",
        "cpus_per_worker",
        "threads",
        "zero_stage",
        "micro_batch_rows",
        "packing",
        "block_tokens",
        "gradient_checkpointing",
        "attention",
        "kernels",
        "checkpoint_every",
        "keep_checkpoints",
        "max_restarts",
    }
)
"""Settings that say where, how fast and how safely it runs: what comes out is the same but for rounding (and dropout's draws), so
an unfinished adapter goes on under other ones."""

ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class TrainConfig(BaseModel):
    """LoRA fine-tuning with Ray Train and DeepSpeed. The result does not depend on `MACHINE_SETTINGS` beyond rounding
    (and dropout's draws)."""

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
    """Rows that one worker computes at once, padded to the longest; with `packing` a worker computes one block at once."""
    max_length: Annotated[int, Field(ge=8)] | Literal["data"] = "data"
    """Tokens of the longest row; "data": as long as the data is, up to the model's context. A row is never cut."""
    too_long: Literal["error", "split", "drop"] = "error"
    """What is done about a row past `max_length` or the model's context. "split" makes several rows of it at its turns: each later one
    opens as the first does, goes on from a few turns that carry no loss, and every token under loss is trained on once. "drop" leaves the
    row out; both are counted in the result."""
    packing: bool = False
    """Rows of a step lie end to end in blocks instead of being padded; none sees another."""
    block_tokens: int | None = Field(default=None, ge=8)
    """Tokens of the longest block; None: those of the longest row. A longer row has a block of its own."""

    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the weights and the arithmetic; AdamW's state is float32 either way."""
    quantize: Literal["none", "nf4"] = "none"
    """`nf4`: the base in 4 bits (QLoRA; a GPU and bitsandbytes), the adapter and the arithmetic in `dtype`."""
    gradient_checkpointing: bool = False
    attention: Literal["auto", "sdpa", "flash_attention_2"] = "auto"
    """`auto`: FlashAttention 2 on a GPU where it is installed, else PyTorch's own."""
    kernels: Literal["auto", "torch", "liger"] = "auto"
    """`auto`: Liger's fused norms, rotations and MLPs on a GPU where they are installed."""
    zero_stage: Literal[1, 2, 3] = 2
    seed: int = 0
    """Order of the rows, the adapter's first values and dropout. A job's own seed takes its place."""

    num_workers: int = Field(default=2, ge=1)
    min_workers: int | None = Field(default=None, ge=1)
    """With fewer free, from this number on, training starts or goes on, and grows again to `num_workers`; None: never with fewer."""
    use_gpu: bool = False
    """One GPU a worker."""
    cpus_per_worker: float = Field(default=1, gt=0)
    threads: int = Field(default=1, ge=1)
    """Arithmetic threads of one worker on CPU."""
    checkpoint_every: int | None = Field(default=50, ge=1)
    """Optimiser steps between two checkpoints; None keeps no checkpoint."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """The newest so many; an older one serves where the newest is damaged."""
    max_restarts: int = Field(default=2, ge=0)
    """Times that a crash of a worker restarts the group from its last checkpoint."""

    @model_validator(mode="after")
    def quantised_base_is_whole_and_on_a_gpu(self) -> "TrainConfig":
        if self.quantize == "nf4" and not self.use_gpu:
            raise ValueError("quantize='nf4' needs a GPU; set use_gpu = true, or quantize = 'none'")
        if self.quantize == "nf4" and self.zero_stage == 3:
            raise ValueError(
                "quantize='nf4' cannot be spread over workers; set zero_stage = 2, or quantize = 'none'"
            )
        if self.quantize == "nf4" and self.dtype != "bfloat16":
            raise ValueError("quantize='nf4' computes in bfloat16; set dtype = 'bfloat16'")
        return self

    @model_validator(mode="after")
    def fused_kernels_are_on_a_gpu(self) -> "TrainConfig":
        if self.attention == "flash_attention_2" and not (self.use_gpu and self.dtype == "bfloat16"):
            raise ValueError(
                "attention='flash_attention_2' needs a GPU and dtype = 'bfloat16'; set attention = 'auto'"
            )
        if self.kernels == "liger" and not self.use_gpu:
            raise ValueError("kernels='liger' needs a GPU; set use_gpu = true, or kernels = 'auto'")
        return self

    @model_validator(mode="after")
    def fewest_workers_are_no_more_than_all(self) -> "TrainConfig":
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(
                f"min_workers={self.min_workers} is more than num_workers={self.num_workers}; lower it"
            )
        if self.block_tokens is not None and not self.packing:
            raise ValueError("block_tokens is for packed rows; set packing = true, or leave it out")
        return self

    @property
    def fingerprint(self) -> str:
        """Hash of all settings but `MACHINE_SETTINGS`: runs with equal fingerprints, models, rows and seeds make one adapter."""
        content = self.model_dump_json(exclude=set(MACHINE_SETTINGS))
        return hashlib.sha256(content.encode()).hexdigest()[:16]


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
    "recommended": {
        "use_gpu": True,
        "num_workers": 1,
        "gradient_checkpointing": True,
        "packing": True,
        "epochs": 2,
    },
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
