"""What DeepSpeed holds in shares, put together and dealt out again: the adapter's float32 weights and AdamW's two averages.

An adapter is small, so the whole state goes through every worker; how many there are on either side, and under which ZeRO stage, then
makes no difference.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist

_AVERAGES = ("exp_avg", "exp_avg_sq")
_WEIGHT = "weight"


def gather_state(engine: Any) -> dict[str, torch.Tensor]:
    """`{parameter/kind: whole float32 tensor}` on CPU. Every worker must call it, after at least one step."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    state = {}
    for name, parameter in _trained(engine):
        whole = {_WEIGHT: safe_get_full_fp32_param(parameter)}
        whole |= {kind: safe_get_full_optimizer_state(parameter, kind) for kind in _AVERAGES}
        for kind, tensor in whole.items():
            state[f"{name}/{kind}"] = tensor.detach().float().cpu().clone()
    return state


def restore_state(engine: Any, state: Mapping[str, torch.Tensor], step: int) -> None:
    """Make a fresh engine's optimiser what it was after `step` steps. Every worker must call it."""
    _start_averages(engine, step)
    for name, parameter in _trained(engine):
        _set_weight(parameter, state[f"{name}/{_WEIGHT}"])
        for kind in _AVERAGES:
            _set_share(parameter, state[f"{name}/{kind}"], kind)


def _trained(engine: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((n, p) for n, p in engine.module.named_parameters() if p.requires_grad)


def _start_averages(engine: Any, step: int) -> None:
    """AdamW makes its state at its first step; here it is there before, and counts from `step`."""
    optimizer = engine.optimizer
    is_spread = hasattr(optimizer, "fp32_partitioned_groups_flat")
    shares = (
        optimizer.fp32_partitioned_groups_flat if is_spread else optimizer.single_partition_of_fp32_groups
    )
    for share in shares:
        optimizer.optimizer.state[share] = {
            "step": torch.tensor(float(step)),
            **{kind: torch.zeros_like(share) for kind in _AVERAGES},
        }
    if not is_spread:
        optimizer._lazy_init_hp_params_optimizer_state()


def _set_weight(parameter: Any, value: torch.Tensor) -> None:
    """The float32 weight and the one that the model computes with."""
    _set_share(parameter, value, None)
    if not hasattr(parameter, "ds_id"):
        parameter.data.copy_(value.to(parameter.device))
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
        if dist.get_rank() == 0:
            parameter.data.copy_(value.to(parameter.device))


def _set_share(parameter: Any, value: torch.Tensor, kind: str | None) -> None:
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    value = value.to(parameter.device)
    if hasattr(parameter, "ds_id"):
        _set_spread_share(parameter, value, kind)
    elif kind is None:
        safe_set_full_fp32_param(parameter, value)
    else:
        safe_set_full_optimizer_state(parameter, value, kind)


def _set_spread_share(parameter: Any, value: torch.Tensor, kind: str | None) -> None:
    # DeepSpeed's own setter of whole tensors reads past the end where the workers' shares are not equal.
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    size = parameter.ds_tensor.numel()
    padded = torch.zeros(size * dist.get_world_size(), dtype=value.dtype, device=value.device)
    padded[: value.numel()] = value.flatten()
    share = padded.narrow(0, size * dist.get_rank(), size)
    if kind is None:
        safe_set_local_fp32_param(parameter, share)
    else:
        safe_set_local_optimizer_state(parameter, share, kind)
