"""The base model: read as it is to be computed, whole or in 4 bits, with the kernels that are there."""

import importlib.util
import logging
from dataclasses import dataclass
from typing import Any

from train.config import TrainConfig
from train.errors import TrainError

logger = logging.getLogger(__name__)

_PACKAGES = {
    "nf4": ("bitsandbytes", "quantize='nf4'", "quantize = 'none'"),
    "liger": ("liger_kernel", "kernels='liger'", "kernels = 'auto'"),
    "flash_attention_2": ("flash_attn", "attention='flash_attention_2'", "attention = 'auto'"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What this machine computes with, once `auto` is settled."""

    attention: str
    kernels: str


def means(config: TrainConfig) -> Means:
    """Raises `TrainError` for what is asked for by name and is not installed."""
    if config.quantize != "none":
        _need(config.quantize)
    return Means(
        attention=_settle(config.attention, "flash_attention_2", "sdpa", config),
        kernels=_settle(config.kernels, "liger", "torch", config),
    )


def _settle(asked: str, fast: str, plain: str, config: TrainConfig) -> str:
    if asked == fast:
        _need(fast)
    if asked != "auto":
        return asked
    return fast if config.use_gpu and config.dtype == "bfloat16" and _has(fast) else plain


def _has(what: str) -> bool:
    return importlib.util.find_spec(_PACKAGES[what][0]) is not None


def _need(what: str) -> None:
    package, asked, instead = _PACKAGES[what]
    if not _has(what):
        raise TrainError(
            f"{asked} needs the package {package}, which is not installed; install it, or set {instead}"
        )


def load_base(
    model: str,
    dtype: str,
    *,
    device: Any = None,
    quantize: str = "none",
    attention: str = "sdpa",
    kernels: str = "torch",
) -> Any:
    """The base model, where it was read to unless a device is named (weights spread by ZeRO-3 stay as they are)."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    more: dict[str, Any] = {}
    if device is not None and torch.device(device).type == "cuda":
        # Read straight to where it goes: every worker of a machine with a whole model in main memory would fill it.
        more["device_map"] = {"": torch.device(device)}
    if quantize == "nf4":
        more["quantization_config"] = _nf4(getattr(torch, dtype))
    loaded = AutoModelForCausalLM.from_pretrained(
        model, dtype=getattr(torch, dtype), attn_implementation=attention, **more
    ).eval()
    if kernels == "liger":
        fuse(loaded)
    return loaded if device is None or more else loaded.to(device)


def _nf4(dtype: Any) -> Any:
    """As QLoRA has it (arXiv 2305.14314): normal floats, and the scales themselves in 8 bits."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def fuse(model: Any) -> None:
    """Norms, rotations and MLPs; the loss stays ours, which computes logits only where there is loss."""
    from liger_kernel.transformers import _apply_liger_kernel_to_instance
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    if model.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        logger.warning("Liger has no kernels for %s; its own modules are used", model.config.model_type)
        return
    _apply_liger_kernel_to_instance(model=model, cross_entropy=False, fused_linear_cross_entropy=False)


def prepare_for_training(base: Any, *, gradient_checkpointing: bool) -> None:
    """Weights frozen, no cache; unlike PEFT's own preparation nothing is widened to float32, which costs a large model gigabytes."""
    base.config.use_cache = False
    base.requires_grad_(False)
    if gradient_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def probe(model: Any, input_ids: list[int]) -> Any:
    """Logits in float32 [num_tokens, vocabulary]."""
    import torch

    device = next(model.parameters()).device
    with torch.no_grad():
        return model(input_ids=torch.tensor([input_ids], device=device), use_cache=False).logits[0].float()
