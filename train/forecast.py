"""What a training run will need of each worker and how long it will take, before anything is started: arithmetic on dimensions, no torch.

Parameters are exact. Activations are counted tensor by tensor as the layers of transformers save them for their gradients; what the
allocator and libraries add is a stated reserve. Time is arithmetic over peak speed at a stated utilisation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from train.config import TrainConfig
from train.gpus import Gpu
from train.shape import LOGITS_AT_ONCE, ModelShape, Work, training_flops
from train.zero import BUCKET_ELEMENTS

UTILISATION = 0.40
"""Of a GPU's peak, over everything that is computed, recomputation included."""
UTILISATION_NF4 = 0.30
"""4-bit weights are unpacked for every product."""
RESERVE_BYTES = 2e9
"""Of a GPU: the driver's context, libraries' workspaces, and what the allocator cannot use."""


_MASTER_BYTES = 12
"""Float32 weight and AdamW's two averages, a trained parameter."""
_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""4 bits, an 8-bit scale for 64 weights, a float32 scale for 256 of those."""
_LIVE_PARAMETERS = 1e9
"""That ZeRO-3 keeps gathered at most (DeepSpeed's own limit)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLengths:
    """What is known of the rows before they are read."""

    num_rows: int
    longest: int
    mean: float
    root_mean_square: float
    loss_share: float
    """Of all tokens, those under loss."""
    origin: str
    """Where these numbers are from, for the reader."""

    @classmethod
    def measured(cls, lengths: Sequence[int], num_loss_tokens: int, origin: str) -> "RowLengths":
        total = sum(int(n) for n in lengths)
        return cls(
            num_rows=len(lengths),
            longest=max(int(n) for n in lengths),
            mean=total / len(lengths),
            root_mean_square=math.sqrt(sum(int(n) ** 2 for n in lengths) / len(lengths)),
            loss_share=num_loss_tokens / total,
            origin=origin,
        )

    @property
    def work(self) -> Work:
        tokens = self.num_rows * self.mean
        return Work(
            num_tokens=round(tokens),
            num_loss_tokens=round(tokens * self.loss_share),
            squares=round(self.num_rows * self.root_mean_square**2),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one worker, at the step's peak."""

    base: float
    adapter: float
    gradients: float
    optimizer: float
    activations: float
    """Held until the backward pass comes back to them: with gradient checkpointing the inputs of layers, else all."""
    layer: float
    """With gradient checkpointing, the one layer that is computed again."""
    logits: float
    exchange: float
    """Buckets between workers, and layers that ZeRO-3 gathers."""
    reserve: float

    @property
    def total(self) -> float:
        # Logits are gone before the first layer is computed again.
        return sum(getattr(self, name) for name in self.__slots__) - min(self.layer, self.logits)

    @property
    def weights(self) -> float:
        """What lies there between steps."""
        return self.base + self.adapter + self.optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingForecast:
    """One adapter's training."""

    parameters: int
    adapter_parameters: int
    tokens_at_once: int
    memory: Memory
    flops: float
    """Of all epochs, over all workers, recomputation included."""
    hours: float | None
    """Of the steps; None on processors and in float32, whose peak is not known."""
    gpu: Gpu | None
    assumptions: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        return None if self.gpu is None else self.memory.total <= self.gpu.memory_bytes


def forecast_training(
    config: TrainConfig,
    shape: ModelShape,
    rows: RowLengths,
    *,
    gpu: Gpu | None,
    packed_mask: bool | None = None,
) -> TrainingForecast:
    """`gpu`: of each worker; None where training runs on processors.

    `packed_mask`: packed rows are kept apart by a mask of every pair of positions, as PyTorch's own attention needs; None: unless
    FlashAttention is asked for by name.
    """
    adapter = shape.adapter_parameters(config.rank, config.targets)
    tokens = tokens_at_once(config, rows)
    masked = config.packing and (
        config.attention != "flash_attention_2" if packed_mask is None else packed_mask
    )
    flops = config.epochs * training_flops(
        shape, rows.work, adapter_parameters=adapter, recomputed=config.gradient_checkpointing
    )
    utilisation = UTILISATION_NF4 if config.quantize == "nf4" else UTILISATION
    seconds = None
    if gpu and config.dtype == "bfloat16":
        seconds = flops / (gpu.bf16_tflops * 1e12 * config.num_workers * utilisation)
    return TrainingForecast(
        parameters=shape.parameters,
        adapter_parameters=adapter,
        tokens_at_once=tokens,
        memory=Memory(
            **_held(config, shape, adapter),
            **activation_bytes(config, shape, tokens, masked=masked),
            logits=logit_bytes(config, shape, math.ceil(tokens * rows.loss_share)),
            exchange=_exchange(config, shape, adapter),
            reserve=RESERVE_BYTES if gpu else 0.0,
        ),
        flops=flops,
        hours=None if seconds is None else seconds / 3600,
        gpu=gpu,
        assumptions=_assumptions(config, rows, tokens, utilisation, gpu, masked),
    )


def tokens_at_once(config: TrainConfig, rows: RowLengths) -> int:
    """Positions that a worker computes in one go, at most."""
    if config.packing:
        return max(config.block_tokens or math.ceil(rows.longest / 64) * 64, rows.longest)
    return min(config.micro_batch_rows, config.batch_rows) * rows.longest


def _bytes_of(config: TrainConfig) -> int:
    return 4 if config.dtype == "float32" else 2


def _held(config: TrainConfig, shape: ModelShape, adapter: int) -> dict[str, float]:
    size, workers = _bytes_of(config), config.num_workers
    in_4_bits = shape.linear_parameters if config.quantize == "nf4" else 0
    base = (shape.parameters - in_4_bits) * size + in_4_bits * _NF4_BYTES
    spread = workers if config.zero_stage == 3 else 1
    return {
        "base": base / spread,
        "adapter": adapter * size / spread,
        "gradients": adapter * size / (workers if config.zero_stage > 1 else 1),
        # ZeRO keeps gradients of its own share in float32 when it steps.
        "optimizer": adapter * (_MASTER_BYTES + 4) / workers,
    }


def _exchange(config: TrainConfig, shape: ModelShape, adapter: int) -> float:
    size = _bytes_of(config)
    buckets = (2 if config.use_gpu else 1) * min(BUCKET_ELEMENTS, adapter) * size
    gathered = min(_LIVE_PARAMETERS, shape.parameters) * size if config.zero_stage == 3 else 0.0
    return buckets + gathered


def activation_bytes(
    config: TrainConfig, shape: ModelShape, tokens: int, *, masked: bool
) -> dict[str, float]:
    """`activations` and `layer` of `Memory`."""
    size = _bytes_of(config)
    # A mask of pairs is one byte a pair, and once more in `dtype` in every layer that holds on to it.
    layer = tokens * layer_bytes_per_token(config, shape) + (tokens**2 * size if masked else 0)
    ends = tokens * shape.hidden * (size + 4 + size)  # the last norm and what the head reads
    ends += tokens**2 if masked else 0
    if config.gradient_checkpointing:
        return {"activations": shape.layers * tokens * shape.hidden * size + ends, "layer": layer}
    return {"activations": shape.layers * layer + ends, "layer": 0.0}


def layer_bytes_per_token(config: TrainConfig, shape: ModelShape) -> float:
    """What one layer saves for its gradients, a token."""
    size = _bytes_of(config)
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    norms = 2 * shape.hidden * (4 + size)  # computed in float32, read in `dtype`
    attention = (2 * queries + 2 * keys) * size + shape.heads * 4  # rotated, the output, one logarithm a head
    mlp = 4 * shape.intermediate * size  # gate, its activation, up, their product
    adapters = len(config.targets) * config.rank * size
    dropped = 0.0
    if config.dropout:
        dropped = sum(shape.linears[name][0] for name in config.targets) * (size + 1)
    return norms + attention + mlp + adapters + dropped


def logit_bytes(config: TrainConfig, shape: ModelShape, loss_tokens: int) -> float:
    """Logits in `dtype`, in float32, their log-softmax, and the gradients of the last two."""
    at_once = min(loss_tokens, max(1, LOGITS_AT_ONCE // shape.vocabulary))
    size = _bytes_of(config)
    copies = 4 * (2 if size == 4 else 3) + 2 * size
    return float(at_once * shape.vocabulary * copies)


def _assumptions(
    config: TrainConfig, rows: RowLengths, tokens: int, utilisation: float, gpu: Gpu | None, masked: bool
) -> tuple[str, ...]:
    found = [
        f"rows: {rows.num_rows}, longest {rows.longest} tokens, mean {rows.mean:.0f}, {rows.loss_share:.0%} under loss ({rows.origin})",
        f"{tokens} tokens at once, {config.num_workers} workers, ZeRO-{config.zero_stage}, {config.dtype}"
        + (", base in 4 bits" if config.quantize == "nf4" else "")
        + (", layers recomputed" if config.gradient_checkpointing else ""),
    ]
    if masked:
        found.append("packed rows are masked pair by pair; FlashAttention needs no mask")
    if gpu is not None:
        found.append(
            f"{gpu.name}: {gpu.memory_gb:g} GB, {gpu.bf16_tflops:g} TFLOP/s dense bfloat16 ({gpu.source}); "
            f"{utilisation:.0%} of it used; {RESERVE_BYTES / 1e9:g} GB kept for driver, workspaces and fragments"
        )
    return tuple(found)
