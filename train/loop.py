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

from train.adapter import MANIFEST, gather_adapter, load_base, probe, save_adapter, verify_adapter
from train.batches import Step, TokenRows, lr_at, pad, plan_steps, read_rows
from train.config import TrainConfig
from train.errors import AdapterError
from train.zero import deepspeed_config, prepare_deepspeed

logger = logging.getLogger(__name__)

PROBE_TOKENS = 64
LATEST = "latest.json"
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
    torch.set_num_threads(settings.config.threads)
    deepspeed = prepare_deepspeed(settings.config.use_gpu)
    if settings.config.use_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Takes over torch's group. Before any model is read: ZeRO-3 spreads weights while reading, over this group.
    deepspeed.init_distributed(
        dist.get_backend(), auto_mpi_discovery=False, verbose=False, dist_init_required=False
    )
    for job in settings.jobs:
        if _agreed(not (Path(job.folder) / "adapter" / MANIFEST).exists()):
            train_adapter(job, settings, deepspeed, report)
            dist.barrier()


def train_adapter(job: Job, settings: WorkerSettings, deepspeed: Any, report: Report) -> None:
    """From rows to a verified adapter in `job.folder`, going on from the last checkpoint if there is one."""
    config, rank = settings.config, dist.get_rank()
    rows = read_rows(Path(job.rows), config)
    steps = plan_steps(rows, config, job.seed)
    (Path(job.folder) / FAILURE).unlink(missing_ok=True)
    engine = _start_engine(deepspeed, settings, job.seed)
    first, seconds_before = _resume(engine, job)
    metrics = _MetricsFile(Path(job.folder) / "metrics.jsonl", first) if rank == 0 else None
    started = time.monotonic()
    for index in range(first, len(steps)):
        record = _take_step(engine, rows, steps[index], index, len(steps), job, config)
        if metrics:
            metrics.write(record)
        if config.checkpoint_every and (index + 1) % config.checkpoint_every == 0 and index + 1 < len(steps):
            _save_checkpoint(engine, job, index + 1, seconds_before + time.monotonic() - started)
            report({"job": job.name, **record})
    seconds = seconds_before + time.monotonic() - started
    engine.eval()
    model = engine.module.model
    probe_ids = [int(i) for i in rows.tokens(0)[0][:PROBE_TOKENS]]
    tensors, logits = (
        gather_adapter(model),
        probe(model, probe_ids),
    )  # on every worker: both may gather weights
    engine.destroy()
    summary = {"job": job.name, "steps": len(steps), "tokens": sum(s.num_tokens for s in steps)}
    if metrics:
        summary |= {"final_loss": metrics.mean_loss(steps[-1].epoch), "seconds": round(seconds, 3)}
        metrics.close()
        _finish(
            job, settings, model, tensors, (probe_ids, logits), summary | {"skipped_rows": rows.num_skipped}
        )
    del engine, model, tensors, logits
    gc.collect()
    report(summary)


class TokenLoss(torch.nn.Module):
    """A causal model whose output is the sum of its tokens' losses."""

    def __init__(self, model: torch.nn.Module, label_smoothing: float):
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, input_ids_BT: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
        targets_BT = labels_BT[:, 1:]
        positions_K = (targets_BT != -100).any(dim=0).nonzero().flatten()
        if positions_K.numel() == 0:
            positions_K = torch.zeros(1, dtype=torch.long, device=input_ids_BT.device)
        # Without an attention mask: padding stands on the right, where no real token sees it, and attention without
        # a mask is much faster. Logits only where some row has loss: they are most of a small model's work.
        logits_BKV = self.model(input_ids=input_ids_BT, use_cache=False, logits_to_keep=positions_K).logits
        return torch.nn.functional.cross_entropy(
            logits_BKV.float().flatten(0, 1),
            targets_BT[:, positions_K].flatten(),
            ignore_index=-100,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )


def _start_engine(deepspeed: Any, settings: WorkerSettings, seed: int) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers.integrations import HfDeepSpeedConfig
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    config = settings.config
    zero = deepspeed_config(config)
    # While this object lives, transformers spreads the weights over the workers as it reads them.
    spread = HfDeepSpeedConfig(zero) if config.zero_stage == 3 else None
    base = load_base(settings.model, config.dtype)
    if spread is not None:
        unset_hf_deepspeed_config()
    base.config.use_cache = False
    if config.gradient_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.manual_seed(seed)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
        task_type="CAUSAL_LM",
    )
    model = TokenLoss(get_peft_model(base, lora, autocast_adapter_dtype=False), config.label_smoothing)
    trainable = [p for p in model.parameters() if p.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=trainable, config=zero, dist_init_required=False
    )
    engine.train()
    return engine


def _take_step(
    engine: Any, rows: TokenRows, step: Step, index: int, num_steps: int, job: Job, config: TrainConfig
) -> dict[str, Any]:
    """One optimiser step on the step's rows; all workers return the same loss."""
    rank, num_workers = dist.get_rank(), dist.get_world_size()
    started = time.monotonic()
    # Drawn from the position alone, so that a resumed run drops what an unbroken one drops.
    torch.manual_seed((job.seed * 1_000_003 + index) * 1_009 + rank)
    lr = lr_at(index, num_steps, config)
    for group in engine.optimizer.param_groups:
        group["lr"] = lr
    total = torch.zeros((), device=engine.device)
    for cells in step.cells:
        input_ids, labels = (torch.from_numpy(a).to(engine.device) for a in pad(rows, cells[rank]))
        loss = engine(input_ids, labels)
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
        "tokens_per_s": round(step.num_tokens / max(time.monotonic() - started, 1e-9), 1),
    }


def _save_checkpoint(engine: Any, job: Job, step: int, seconds: float) -> None:
    """Adapter and optimiser; the position gives everything else. Whole or not there: the pointer moves last."""
    folder = Path(job.folder) / "checkpoints"
    tag = f"step-{step:06d}"
    engine.save_checkpoint(str(folder), tag=tag, save_latest=False, exclude_frozen_parameters=True)
    dist.barrier()
    if dist.get_rank() == 0:
        _write_json(folder / LATEST, {"tag": tag, "step": step, "key": job.key, "seconds": seconds})
        for old in folder.glob("step-*"):
            if old.name != tag:
                shutil.rmtree(old)
    dist.barrier()


def _resume(engine: Any, job: Job) -> tuple[int, float]:
    """`(next step, seconds spent before)`."""
    folder = Path(job.folder) / "checkpoints"
    latest = folder / LATEST
    known = _agreed(json.loads(latest.read_text()) if latest.exists() else None)
    if known is None or known["key"] != job.key:
        return 0, 0.0
    engine.load_checkpoint(str(folder), tag=known["tag"], load_module_strict=False)
    logger.info("%s goes on at step %d", job.name, known["step"])
    return known["step"], known["seconds"]


def _agreed(value: Any) -> Any:
    """What the first worker found. On a shared file system the others may see a file later, and would then wait for
    a step that the first does not take."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _finish(
    job: Job,
    settings: WorkerSettings,
    model: Any,
    tensors: Any,
    probed: tuple[list[int], Any],
    summary: dict[str, Any],
) -> None:
    """On one worker: save, verify, and only then let the adapter be seen."""
    folder = Path(job.folder)
    partial = folder / "adapter.partial"
    shutil.rmtree(partial, ignore_errors=True)
    save_adapter(model, tensors, partial)
    probe_ids, logits = probed
    try:
        verify_adapter(
            partial,
            settings.model,
            trained=tensors,
            probe_ids=probe_ids,
            trained_logits=logits,
            dtype=settings.config.dtype,
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
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


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
