"""DeepSpeed's settings as a function of ours."""

import os
from typing import Any

from train.config import TrainConfig

BUCKET_ELEMENTS = 50_000_000
"""Of one exchange between workers; DeepSpeed's own half a billion would hold gigabytes for gradients of a few hundred megabytes."""


def deepspeed_config(config: TrainConfig, *, num_workers: int) -> dict[str, Any]:
    """What `deepspeed.initialize` takes: ZeRO 1, 2 or 3, on CPU or GPU."""
    return {
        # How many micro-batches make a step differs from step to step; the loop says when one ends.
        "train_micro_batch_size_per_gpu": config.micro_batch_rows,
        "gradient_accumulation_steps": 1,
        "train_batch_size": config.micro_batch_rows * num_workers,
        "gradient_clipping": config.max_grad_norm or 0.0,
        "bf16": {"enabled": config.dtype == "bfloat16"},
        # DeepSpeed's own AdamW compiles a kernel for a minute at first use, and LoRA's few weights gain nothing by it.
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": config.lr, "weight_decay": config.weight_decay, "torch_adam": True},
        },
        "zero_optimization": _zero(config),
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }


def _zero(config: TrainConfig) -> dict[str, Any]:
    # Overlapping needs streams, which a CPU has not.
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "overlap_comm": config.use_gpu,
        "reduce_bucket_size": BUCKET_ELEMENTS,
        "allgather_bucket_size": BUCKET_ELEMENTS,
    }
    if config.zero_stage == 3:
        zero |= {"stage3_gather_16bit_weights_on_model_save": True}
    return zero


def prepare_deepspeed(use_gpu: bool) -> Any:
    """Import DeepSpeed without its start-up costs; call before anything else imports it."""
    if not use_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel("WARNING")
    # Else DeepSpeed compiles a shared-memory all-reduce for inference (30-50 s, and a compiler is needed).
    deepspeed.ops.__compatible_ops__ = {}
    return deepspeed
