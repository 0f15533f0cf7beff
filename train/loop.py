"""What each training worker does: learn one adapter after another, keep checkpoints, save, verify.

Runs inside Ray Train, or in any group of processes with an initialised `torch.distributed`. Knows nothing of why
the rows are what they are.
"""

import gc
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from train.adapter import MANIFEST, gather_adapter, save_adapter, verify_adapter
from train.base import Means, load_base, means, prepare_for_training, probe
from train.batches import Step, cell_seed, collate, lr_at, plan_steps
from train.checkpoints import find_checkpoint, read_state, write_checkpoint
from train.config import TrainConfig
from train.errors import AdapterError
from train.lengths import context_of
from train.loss import TokenLoss, batch_tensors
from train.rows import TokenRows, read_rows
from train.state import gather_state, restore_state
from train.waste import describe_waste
from train.zero import deepspeed_config, prepare_deepspeed

logger = logging.getLogger(__name__)

PROBE_TOKENS = 64
CHECKPOINTS = "checkpoints"
FAILURE = "failure.json"

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One adapter to train."""

    name: str
    rows: str
    folder: str
    """Gets `adapter/` and `metrics.jsonl`, and `checkpoints/` until it is done."""
    seed: int
    key: str
    """Hash of all that makes the adapter what it is; a checkpoint of another key is not resumed."""
    identity: dict[str, Any]
    """What the manifest says of model, rows and settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    config: TrainConfig
    model: str
    jobs: tuple[Job, ...]


def train_worker(settings: WorkerSettings) -> None:
    """The function that Ray Train calls in each worker."""
    import ray.train

    train_jobs(settings, ray.train.report)


def train_jobs(settings: WorkerSettings, report: Report) -> None:
    """All adapters that are not there yet, one after the other on one base."""
    torch.set_num_threads(settings.config.threads)
    deepspeed = prepare_deepspeed(settings.config.use_gpu)
    if settings.config.use_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Takes over torch's group. Before any model is read: ZeRO-3 spreads weights while reading, over this group.
    deepspeed.init_distributed(
        dist.get_backend(), auto_mpi_discovery=False, verbose=False, dist_init_required=False
    )
    base: Base | None = None
    for job in settings.jobs:
        if _agreed(not (Path(job.folder) / "adapter" / MANIFEST).exists()):
            base = base or Base.load(settings)
            train_adapter(job, settings, base, deepspeed, report)
            dist.barrier()


@dataclass(slots=True, kw_only=True)
class Base:
    """The base model of all jobs. Each gets adapters of its own, which are taken off again, so it is read once."""

    model: Any
    means: Means
    is_spread: bool
    """By ZeRO-3: no worker can compute with it but inside DeepSpeed's engine."""

    @classmethod
    def load(cls, settings: WorkerSettings) -> "Base":
        from transformers.integrations import HfDeepSpeedConfig
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        config = settings.config
        found = means(config)
        zero = deepspeed_config(config, num_workers=dist.get_world_size())
        # While this object lives, transformers spreads the weights over the workers as it reads them.
        spread = HfDeepSpeedConfig(zero) if config.zero_stage == 3 else None
        device = torch.device("cuda", torch.cuda.current_device()) if config.use_gpu and not spread else None
        model = load_base(
            settings.model,
            config.dtype,
            device=device,
            quantize=config.quantize,
            attention=found.attention,
            kernels=found.kernels,
        )
        if spread is not None:
            unset_hf_deepspeed_config()
        prepare_for_training(model, gradient_checkpointing=config.gradient_checkpointing)
        return cls(model=model, means=found, is_spread=spread is not None)

    def adapted(self, config: TrainConfig, seed: int) -> Any:
        """With a fresh adapter on it."""
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(seed)
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=list(config.targets),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(self.model, lora, autocast_adapter_dtype=False)

    def plain_logits(self, probe_ids: list[int]) -> Any:
        return None if self.is_spread else probe(self.model.eval(), probe_ids)


def train_adapter(job: Job, settings: WorkerSettings, base: Base, deepspeed: Any, report: Report) -> None:
    """From rows to a verified adapter in `job.folder`, going on from the last checkpoint if there is one."""
    config, rank, num_workers = settings.config, dist.get_rank(), dist.get_world_size()
    rows = read_rows(Path(job.rows), config, context=context_of(settings.model))
    steps = plan_steps(rows, config, job.seed, num_workers=num_workers)
    (Path(job.folder) / FAILURE).unlink(missing_ok=True)
    probe_ids = [int(i) for i in rows.tokens(0)[0][:PROBE_TOKENS]]
    plain = base.plain_logits(probe_ids)
    engine = start_engine(deepspeed, base, config, job.seed)
    first, seconds_before = _resume(engine, job)
    metrics = _MetricsFile(Path(job.folder) / "metrics.jsonl", first) if rank == 0 else None
    if metrics:
        logger.info("%s: %s", job.name, describe_waste(rows, config, job.seed, num_workers=num_workers))
    started = time.monotonic()
    for index in range(first, len(steps)):
        record = take_step(engine, rows, steps[index], index, len(steps), job, config, base.means)
        if metrics:
            metrics.write(record)
        if config.checkpoint_every and (index + 1) % config.checkpoint_every == 0 and index + 1 < len(steps):
            _save_checkpoint(engine, job, config, index + 1, seconds_before + time.monotonic() - started)
            report({"job": job.name, **record})
    seconds = seconds_before + time.monotonic() - started
    engine.eval()
    adapted = engine.module.model
    # On every worker: both may gather weights.
    tensors, logits = gather_adapter(adapted), probe(adapted, probe_ids)
    engine.destroy()
    del engine
    peft_config = adapted.peft_config["default"]
    base.model = adapted.unload()
    del adapted
    gc.collect()
    summary = {"job": job.name, "steps": len(steps), "tokens": sum(s.num_tokens for s in steps)}
    if metrics:
        summary |= {"final_loss": metrics.mean_loss(steps[-1].epoch), "seconds": round(seconds, 3)}
        metrics.close()
        probed = _Probed(ids=probe_ids, plain=plain, trained=logits)
        about = summary | {"skipped_rows": rows.num_dropped, "split_rows": rows.num_split}
        _finish(job, settings, base, peft_config, tensors, probed, about)
    report(summary)


def start_engine(deepspeed: Any, base: Base, config: TrainConfig, seed: int) -> Any:
    model = TokenLoss(base.adapted(config, seed), config.label_smoothing)
    trainable = [p for p in model.parameters() if p.requires_grad]
    zero = deepspeed_config(config, num_workers=dist.get_world_size())
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=trainable, config=zero, dist_init_required=False
    )
    engine.train()
    return engine


def take_step(
    engine: Any,
    rows: TokenRows,
    step: Step,
    index: int,
    num_steps: int,
    job: Job,
    config: TrainConfig,
    means: Means,
) -> dict[str, Any]:
    """One optimiser step on the step's rows; all workers return the same loss."""
    rank, num_workers = dist.get_rank(), dist.get_world_size()
    started = time.monotonic()
    lr = lr_at(index, num_steps, config)
    for group in engine.optimizer.param_groups:
        group["lr"] = lr
    total = torch.zeros((), device=engine.device)
    for at, cells in enumerate(step.cells):
        engine.set_gradient_accumulation_boundary(at == len(step.cells) - 1)
        torch.manual_seed(cell_seed(job.seed, index, cells[rank]))
        batch = collate(rows, cells[rank], packed=config.packing)
        loss = engine(**batch_tensors(batch, engine.device, attention=means.attention))
        # DeepSpeed averages gradients over the workers; each token shall weigh the same, whoever computes it.
        engine.backward(loss * (num_workers / step.num_loss_tokens), scale_wrt_gas=False)
        engine.step()
        total += loss.detach()
    dist.all_reduce(total)
    return {
        "step": index,
        "epoch": step.epoch,
        "loss": total.item() / step.num_loss_tokens,
        "lr": lr,
        "grad_norm": float(engine.get_global_grad_norm() or 0.0),
        "loss_tokens": step.num_loss_tokens,
        "tokens": step.num_tokens,
        "workers": num_workers,
        "tokens_per_s": round(step.num_tokens / max(time.monotonic() - started, 1e-9), 1),
    }


def _save_checkpoint(engine: Any, job: Job, config: TrainConfig, step: int, seconds: float) -> None:
    """Adapter and optimiser; the position gives everything else."""
    state = gather_state(engine)
    if dist.get_rank() == 0:
        write_checkpoint(
            Path(job.folder) / CHECKPOINTS,
            state,
            step=step,
            key=job.key,
            seconds=seconds,
            num_workers=dist.get_world_size(),
            keep=config.keep_checkpoints,
        )
    dist.barrier()


def _resume(engine: Any, job: Job) -> tuple[int, float]:
    """`(next step, seconds spent before)`."""
    is_first = dist.get_rank() == 0
    found = _agreed(find_checkpoint(Path(job.folder) / CHECKPOINTS, job.key) if is_first else None)
    if found is None:
        return 0, 0.0
    checkpoint, about = found
    restore_state(engine, read_state(checkpoint), about.step)
    logger.info("%s goes on at step %d, saved by %d workers", job.name, about.step, about.num_workers)
    return about.step, about.seconds


def _agreed(value: Any) -> Any:
    """What the first worker found. On a shared file system the others may see a file later, and would then wait for
    a step that the first does not take."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probed:
    ids: list[int]
    plain: Any
    """The base's logits before training; None where no worker has a whole base."""
    trained: Any


def _finish(
    job: Job,
    settings: WorkerSettings,
    base: Base,
    peft_config: Any,
    tensors: Any,
    probed: _Probed,
    summary: dict[str, Any],
) -> None:
    """On one worker: save, verify, and only then let the adapter be seen."""
    folder = Path(job.folder)
    partial = folder / "adapter.partial"
    shutil.rmtree(partial, ignore_errors=True)
    save_adapter(peft_config, tensors, partial)
    dtype = settings.config.dtype
    try:
        verify_adapter(
            partial,
            # In main memory where the workers' own base is spread: a large one would not fit beside its share.
            load_base(settings.model, dtype) if base.is_spread else base.model,
            trained=tensors,
            probe_ids=probed.ids,
            trained_logits=probed.trained,
            plain_logits=probed.plain,
            dtype=dtype,
        )
    except AdapterError as error:
        # Not raised here: a worker that fails is started again, and would do the same.
        _write_json(folder / FAILURE, {"key": job.key, "message": str(error)})
        return
    _write_json(
        partial / MANIFEST, job.identity | {"name": job.name, "seed": job.seed, "key": job.key} | summary
    )
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    partial.rename(folder / "adapter")
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


class _MetricsFile:
    """One JSON line a step; on resumption the lines past the checkpoint are dropped."""

    def __init__(self, path: Path, first_step: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines(keepends=True)[:first_step] if path.exists() else []
        self._losses = [json.loads(line) for line in lines]
        path.write_text("".join(lines))
        self._file = path.open("a", buffering=1)

    def write(self, record: dict[str, Any]) -> None:
        self._losses.append(record)
        self._file.write(json.dumps(record) + "\n")

    def mean_loss(self, epoch: int) -> float:
        """Of all tokens under loss in an epoch."""
        steps = [r for r in self._losses if r["epoch"] == epoch]
        return sum(r["loss"] * r["loss_tokens"] for r in steps) / sum(r["loss_tokens"] for r in steps)

    def close(self) -> None:
        self._file.close()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=2))
    draft.replace(path)
