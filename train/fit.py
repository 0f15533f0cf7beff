"""Adapters from tokenised rows: one Ray Train job for one adapter or for many, resumable, each verified."""

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from train.adapter import check_base, check_model, hash_model, read_manifest
from train.base import means
from train.config import TrainConfig
from train.errors import AdapterError, TrainError
from train.lengths import context_of
from train.loop import CHECKPOINTS, FAILURE, Job, WorkerSettings, train_worker
from train.rows import TokenRows, read_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitJob:
    """One adapter to make."""

    name: str
    """Its folder's name under the output folder."""
    rows: Path
    """A Parquet file, or a folder of such files, of `TOKENS_SCHEMA`."""
    seed: int | None = None
    """None: the config's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    name: str
    adapter: Path
    """A folder as PEFT and vLLM read it, with `adapter.json` beside the weights."""
    metrics: Path
    """One JSON line a step."""
    steps: int
    tokens: int
    """Tokens read in all epochs, padding not counted."""
    final_loss: float
    """Mean loss of a token over the last epoch."""
    skipped_rows: int
    """Left out because they are too long."""
    split_rows: int
    """That several stand for, because they are too long."""
    seconds: float
    """Spent on steps; start-up is not in it."""


def fit(
    config: TrainConfig, *, model: str, rows: Path, out_dir: Path, name: str, resume: bool = True
) -> FitResult:
    """Train one adapter of `model` into `out_dir/name`. Ray must be running."""
    return fit_many(config, model=model, jobs=[FitJob(name=name, rows=rows)], out_dir=out_dir, resume=resume)[
        0
    ]


def fit_many(
    config: TrainConfig, *, model: str, jobs: Sequence[FitJob], out_dir: Path, resume: bool = True
) -> list[FitResult]:
    """Train adapters one after the other in one Ray Train job: workers start once.

    Finished adapters of the same model, rows, settings and seed are kept, unfinished ones go on from their last
    checkpoint, on as many workers as `config` says now; `resume=False` starts all anew. Raises `TrainError` and its kin; what was finished stays.
    """
    planned = _plan(config, model, jobs, out_dir.absolute())
    if not resume:
        for job in planned:
            _forget(Path(job.folder))
    owed = tuple(job for job in planned if not _is_finished(job, model))
    if owed:
        _train(WorkerSettings(config=config, model=model, jobs=owed), out_dir.absolute())
    return [_read_result(job) for job in planned]


def _plan(config: TrainConfig, model: str, jobs: Sequence[FitJob], out_dir: Path) -> list[Job]:
    """All that can be wrong with the request is found here, before any worker starts."""
    names = [job.name for job in jobs]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise ValueError(f"two adapters cannot share a name: {', '.join(twice)}")
    check_model(model)
    if not config.use_gpu:  # Else the workers look: what they can import, this process need not.
        means(config)
    base_sha256 = hash_model(model)
    read = {path: read_rows(path, config, context=context_of(model)) for path in {job.rows for job in jobs}}
    for path, rows in read.items():
        _tell_of_long_rows(path, rows)
    hashes = {path: rows.sha256 for path, rows in read.items()}
    planned = []
    for job in jobs:
        identity = {
            "base": model,
            "base_sha256": base_sha256,
            "rows_sha256": hashes[job.rows],
            "config": config.model_dump(mode="json"),
            "config_sha256": config.fingerprint,
        }
        seed = config.seed if job.seed is None else job.seed
        key = hashlib.sha256(json.dumps([base_sha256, hashes[job.rows], config.fingerprint, seed]).encode())
        planned.append(
            Job(
                name=job.name,
                rows=str(job.rows.absolute()),
                folder=str(out_dir / job.name),
                seed=seed,
                key=key.hexdigest()[:16],
                identity=identity | {"versions": _versions()},
            )
        )
    return planned


def _tell_of_long_rows(path: Path, rows: TokenRows) -> None:
    if rows.num_dropped:
        logger.warning(
            "%d rows of %s are left out: they are too long (too_long = 'drop')", rows.num_dropped, path
        )
    if rows.num_split:
        logger.warning(
            "%d rows of %s are too long and made into several (too_long = 'split'): %d rows in all",
            rows.num_split, path, rows.num_rows,
        )  # fmt: skip


def _forget(folder: Path) -> None:
    """Only what training wrote: the folder may be a stage's, with other things in it."""
    for name in ("adapter", "adapter.partial", CHECKPOINTS):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("metrics.jsonl", FAILURE):
        (folder / name).unlink(missing_ok=True)


def _is_finished(job: Job, model: str) -> bool:
    adapter = Path(job.folder) / "adapter"
    manifest = read_manifest(adapter)
    if manifest is None:
        return False
    if manifest["key"] == job.key:
        return True
    check_base(adapter, model)
    changed = [n for n in ("rows_sha256", "config_sha256") if manifest[n] != job.identity[n]]
    raise AdapterError(
        f"{adapter} holds an adapter of other {' and '.join(changed) or 'seed'} than asked for; "
        "train into another folder, or pass resume=False to replace it"
    )


def _train(settings: WorkerSettings, out_dir: Path) -> None:
    config = settings.config
    _check_cluster(config)
    logger.info(
        "training %d adapters of %s with %d workers, ZeRO-%d, into %s",
        len(settings.jobs), settings.model, config.num_workers, config.zero_stage, out_dir,
    )  # fmt: skip
    started = time.monotonic()
    # Workers import gigabytes before they say that they are there; a busy machine needs more than Ray's minute.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")
    # Ray Train goes on with a run of the same name; our checkpoints are our own, so no two runs share one.
    run = f"fit-{uuid.uuid4().hex[:12]}"
    storage = out_dir / f".{run}"
    trainer = TorchTrainer(
        _in_worker,
        train_loop_config={"settings": settings},
        torch_config=TorchConfig(backend="nccl" if config.use_gpu else "gloo"),
        scaling_config=_scaling(config),
        run_config=RunConfig(
            name=run,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=config.max_restarts),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise TrainError(
            f"training failed after {config.max_restarts} restarts: {error}; "
            "call it again to go on from the last checkpoints"
        ) from error
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    logger.info("trained %d adapters in %.0f s", len(settings.jobs), time.monotonic() - started)


def _scaling(config: TrainConfig) -> ScalingConfig:
    workers = config.num_workers
    return ScalingConfig(
        num_workers=workers if config.min_workers is None else (config.min_workers, workers),
        use_gpu=config.use_gpu,
        resources_per_worker={"CPU": config.cpus_per_worker} | ({"GPU": 1} if config.use_gpu else {}),
    )


def _in_worker(loop_config: dict[str, Any]) -> None:
    train_worker(loop_config["settings"])


def _check_cluster(config: TrainConfig) -> None:
    # Ray waits for ever for what the cluster does not have.
    if not ray.is_initialized():
        raise TrainError("Ray is not running; start it first (ray.init)")
    have = ray.cluster_resources()
    num_workers = config.min_workers or config.num_workers
    need = {"CPU": num_workers * config.cpus_per_worker}
    if config.use_gpu:
        need["GPU"] = num_workers
    for name, amount in need.items():
        if have.get(name, 0) < amount:
            raise TrainError(
                f"training needs {amount:g} {name}s ({num_workers} workers) but the cluster has "
                f"{have.get(name, 0):g}; lower num_workers or cpus_per_worker"
            )


def _read_result(job: Job) -> FitResult:
    folder = Path(job.folder)
    manifest = read_manifest(folder / "adapter")
    if manifest is None or manifest["key"] != job.key:
        failure = folder / FAILURE
        reason = json.loads(failure.read_text())["message"] if failure.exists() else "the workers wrote none"
        raise AdapterError(f"no adapter {job.name}: {reason}")
    return FitResult(
        name=job.name,
        adapter=folder / "adapter",
        metrics=folder / "metrics.jsonl",
        **{
            name: manifest[name]
            for name in ("steps", "tokens", "final_loss", "skipped_rows", "split_rows", "seconds")
        },
    )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers", "peft", "deepspeed", "ray")}
