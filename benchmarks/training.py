"""Tokens/s, MFU and peak memory of LoRA training on a 14B-shaped model of random weights, beside TRL's SFTTrainer on the same rows.

    python benchmarks/training.py                           # one GPU: Qwen2.5-14B's dimensions, made on the device in bfloat16
    python benchmarks/training.py --rows runs/store/dataset-KEY/tokens.parquet
    python benchmarks/training.py --tiny                    # the same code at tiny size on a processor: a test, no figure

Random weights compute at the speed of trained ones. Rows have real lengths: those of a dataset, or drawn from the shipped histogram of
an ALFWorld dataset. Each side does the same steps on the same rows; the first are warm-up and dropped, as is the start. MFU counts what
the model needs (frozen maps have no gradient of their weights, nothing is counted twice for recomputation) against the GPU's dense peak.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from train.batches import plan_steps
from train.config import TrainConfig
from train.gpus import GPUS, gpu_named
from train.rows import TokenRows, read_rows
from train.schema import TOKENS_SCHEMA
from train.shape import ModelShape, Work, training_flops

QWEN_14B = {
    "hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8,
    "intermediate_size": 13824, "vocab_size": 152064, "max_position_embeddings": 32768,
    "rope_theta": 1_000_000.0, "tie_word_embeddings": False,
}  # fmt: skip
TINY = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 176, "vocab_size": 512, "max_position_embeddings": 32768, "tie_word_embeddings": False,
}  # fmt: skip
# Deciles of a row's tokens and the share under loss, for runs without a dataset: long-tailed, as episodes of up to 50 steps are.
DECILES = (600, 900, 1100, 1300, 1500, 1800, 2200, 2700, 3500, 4800, 8000)
LOSS_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Result:
    """Of the steps past the warm-up."""

    name: str
    tokens_per_s: float
    step_seconds: tuple[float, ...]
    mfu: float | None
    """None on a processor."""
    peak_gb: float | None
    losses: tuple[float, ...]
    note: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    print(_purpose(args), file=sys.stderr if args.json else sys.stdout)
    if not args.tiny and not _has_gpu():
        print("no GPU here: nothing is measured; `--tiny` runs the same code on a processor")
        return 0
    os.environ.setdefault("DS_ACCELERATOR", "cpu" if args.tiny else "cuda")
    config = _config(args)
    with tempfile.TemporaryDirectory() as folder:
        path = args.rows or _drawn_rows(Path(folder) / "rows.parquet", args)
        rows = read_rows(path, config, context=32768)
        batches = _batches(rows, config, args.steps)
        sides: list[Callable[[], Result]] = [lambda: _ours(rows, batches, config, args, Path(folder))]
        if not args.no_trl:
            sides.append(lambda: _trl(rows, batches, config, args, Path(folder)))
        results = []
        for side in sides:
            results.append(side())
            _free()
    _tell(results, args, rows)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="tiny dimensions on a processor")
    parser.add_argument("--rows", type=Path, help="a dataset's tokens.parquet; left out: drawn lengths")
    parser.add_argument("--steps", type=int, default=12, help="optimiser steps, warm-up included")
    parser.add_argument("--warmup", type=int, default=2, help="steps that are dropped")
    parser.add_argument("--batch-rows", type=int, default=8)
    parser.add_argument("--block-tokens", type=int, default=16384, help="of a packed block")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--gpu", help=f"for its peak: {', '.join(GPUS)}; left out: by its own name")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations")
    parser.add_argument("--no-trl", action="store_true", help="measure ours alone")
    parser.add_argument("--json", action="store_true")
    return parser


def _purpose(args: argparse.Namespace) -> str:
    size = "tiny dimensions" if args.tiny else "Qwen2.5-14B's dimensions, random weights"
    return (
        f"measures: tokens/s, MFU and peak memory of LoRA rank {args.rank} on {size}; {args.steps} steps of {args.batch_rows} rows, "
        f"{args.warmup} of them dropped; ours (packed blocks) {'alone' if args.no_trl else 'and TRL on the same rows'}"
    )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _config(args: argparse.Namespace) -> TrainConfig:
    return TrainConfig(
        rank=args.rank,
        alpha=2 * args.rank,
        batch_rows=args.batch_rows,
        micro_batch_rows=1,
        packing=True,
        block_tokens=args.block_tokens,
        gradient_checkpointing=not args.no_checkpointing,
        dtype="float32" if args.tiny else "bfloat16",
        use_gpu=not args.tiny,
        num_workers=1,
        zero_stage=2,
        epochs=1,
    )


def _drawn_rows(path: Path, args: argparse.Namespace) -> Path:
    """As many rows as the steps need; lengths from the deciles, loss on the last part of each of several turns."""
    random = np.random.default_rng(0)
    scale = 0.02 if args.tiny else 1.0
    at = np.linspace(0, 1, len(DECILES))
    made = []
    for number in range(args.steps * args.batch_rows):
        length = max(60, int(np.interp(random.random(), at, DECILES) * scale))
        ids = random.integers(3, 500, length)
        under_loss = np.arange(length) % 50 >= 50 * (1 - LOSS_SHARE)
        made.append(
            {
                "input_ids": ids.tolist(),
                "labels": np.where(under_loss, ids, -100).tolist(),
                "task_id": f"t{number}",
                "trajectory_id": f"{number:06d}",
                "arm": "drawn",
                "num_tokens": length,
                "num_loss_tokens": int(under_loss.sum()),
            }
        )
    pq.write_table(pa.Table.from_pylist(made, schema=TOKENS_SCHEMA), path)
    return path


def _batches(rows: TokenRows, config: TrainConfig, num_steps: int) -> list[list[int]]:
    """The rows of each step, the same for both sides."""
    steps = plan_steps(rows, config, 0, num_workers=1)[:num_steps]
    return [[i for slot in step.cells for cell in slot for i in cell] for step in steps]


def _make_model(args: argparse.Namespace, attention: str) -> Any:
    """Random weights where they will be used: 30 GB need not pass through main memory."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(**(TINY if args.tiny else QWEN_14B), attn_implementation=attention)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if args.tiny else torch.bfloat16)
    try:
        with torch.device("cpu" if args.tiny else "cuda"):
            return Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(default)


def _ours(
    rows: TokenRows, batches: list[list[int]], config: TrainConfig, args: argparse.Namespace, folder: Path
) -> Result:
    """The loop's own step, on one worker, with nothing between: the first step's plan is the training run's."""
    import torch.distributed as dist

    from train.base import means, prepare_for_training
    from train.loop import Base, Job, start_engine, take_step
    from train.zero import prepare_deepspeed

    group = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ |= group
    dist.init_process_group(
        "nccl" if config.use_gpu else "gloo", init_method=f"file://{folder}/store", rank=0, world_size=1
    )
    deepspeed = prepare_deepspeed(config.use_gpu)
    deepspeed.init_distributed(
        dist.get_backend(), auto_mpi_discovery=False, verbose=False, dist_init_required=False
    )
    found = means(config)
    model = _make_model(args, found.attention)
    if found.kernels == "liger":
        from train.base import fuse

        fuse(model)
    prepare_for_training(model, gradient_checkpointing=config.gradient_checkpointing)
    base = Base(model=model, means=found, is_spread=False)
    engine = start_engine(deepspeed, base, config, 0)
    job = Job(name="bench", rows="", folder=str(folder), seed=0, key="", identity={})
    steps = plan_steps(rows, config, 0, num_workers=1)[: len(batches)]
    losses: list[float] = []

    def step(index: int) -> None:
        losses.append(take_step(engine, rows, steps[index], index, len(steps), job, config, found)["loss"])

    result = _timed("offbook", step, rows, batches, args, losses, f"{found.attention}, {found.kernels}")
    engine.destroy()
    dist.destroy_process_group()
    for name in group:  # Or the other side takes itself for a worker of a group that is gone.
        del os.environ[name]
    return result


def _trl(
    rows: TokenRows, batches: list[list[int]], config: TrainConfig, args: argparse.Namespace, folder: Path
) -> Result:
    """SFTTrainer as its documentation recommends for speed: packing, padding-free attention where FlashAttention is, Liger where it is."""
    if importlib.util.find_spec("trl") is None:
        return _absent("TRL is not installed; `pip install trl` to measure it too")
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from train.base import means

    found = means(config)
    lora = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=list(config.targets), task_type="CAUSAL_LM"
    )
    pairs = [rows.tokens(i) for batch in batches for i in batch]
    longest = max(len(ids) for ids, _ in pairs)
    settings = SFTConfig(
        output_dir=str(folder / "trl"),
        max_steps=len(batches),
        # Without FlashAttention its packing would pad or contaminate: rows then go one by one, as many a step.
        per_device_train_batch_size=1,
        gradient_accumulation_steps=config.batch_rows,
        gradient_checkpointing=config.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        learning_rate=config.lr,
        bf16=config.dtype == "bfloat16",
        max_length=longest,
        packing=False,
        use_liger_kernel=found.kernels == "liger",
        use_cpu=args.tiny,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    times: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            _wait(torch, args)
            times.append(-time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            _wait(torch, args)
            times[-1] += time.perf_counter()

        def on_log(self, *rest: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

    data = Dataset.from_list([{"input_ids": i.tolist(), "labels": y.tolist()} for i, y in pairs])
    trainer = SFTTrainer(
        model=_make_model(args, found.attention),
        args=settings,
        train_dataset=data,
        peft_config=lora,
        callbacks=[Clock()],
        processing_class=_no_tokenizer(folder),
        data_collator=_right_padded,
    )
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(data)
    if not args.tiny:
        torch.cuda.reset_peak_memory_stats()
    with contextlib.redirect_stdout(sys.stderr):  # It prints each step.
        trainer.train()
    return _result("trl", times, rows, batches, args, losses, f"{found.attention}, {found.kernels}")


def _right_padded(features: list[dict[str, list[int]]]) -> dict[str, Any]:
    import torch

    longest = max(len(f["input_ids"]) for f in features)

    def padded(name: str, fill: int) -> Any:
        return torch.tensor([f[name] + [fill] * (longest - len(f[name])) for f in features])

    lengths = torch.tensor([len(f["input_ids"]) for f in features])
    return {
        "input_ids": padded("input_ids", 0),
        "labels": padded("labels", -100),
        "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
    }


def _no_tokenizer(folder: Path) -> Any:
    """SFTTrainer wants one, though the rows are tokens already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


def _timed(
    name: str,
    step: Callable[[int], None],
    rows: TokenRows,
    batches: list[list[int]],
    args: argparse.Namespace,
    losses: list[float],
    note: str,
) -> Result:
    import torch

    if not args.tiny:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for index in range(len(batches)):
        _wait(torch, args)
        started = time.perf_counter()
        step(index)
        _wait(torch, args)
        times.append(time.perf_counter() - started)
    return _result(name, times, rows, batches, args, losses, note)


def _result(
    name: str,
    times: list[float],
    rows: TokenRows,
    batches: list[list[int]],
    args: argparse.Namespace,
    losses: list[float],
    note: str,
) -> Result:
    import torch

    kept, counted = times[args.warmup :], [i for batch in batches[args.warmup :] for i in batch]
    lengths = rows.lengths[counted]
    work = Work.of(lengths, int(rows.loss_lengths[counted].sum()))
    shape = ModelShape.of({"model_type": "qwen2"} | (TINY if args.tiny else QWEN_14B))
    flops = training_flops(
        shape,
        work,
        adapter_parameters=shape.adapter_parameters(args.rank, TrainConfig().targets),
        recomputed=False,
    )
    peak = None if args.tiny else _peak_flops(args)
    return Result(
        name=name,
        tokens_per_s=work.num_tokens / sum(kept),
        step_seconds=tuple(kept),
        mfu=None if peak is None else flops / sum(kept) / peak,
        peak_gb=None if args.tiny else torch.cuda.max_memory_allocated() / 1e9,
        losses=tuple(losses),
        note=note,
    )


def _absent(why: str) -> Result:
    return Result(name="trl", tokens_per_s=0.0, step_seconds=(), mfu=None, peak_gb=None, losses=(), note=why)


def _peak_flops(args: argparse.Namespace) -> float:
    import torch

    if args.gpu:
        return gpu_named(args.gpu).bf16_tflops * 1e12
    own = torch.cuda.get_device_name()
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9
    alike = [gpu for gpu in GPUS.values() if gpu.name.split("-")[0] in own]
    if not alike:
        raise SystemExit(
            f"the peak of a {own} is not known; name a GPU of like speed with --gpu: {', '.join(GPUS)}"
        )
    return min(alike, key=lambda gpu: abs(gpu.memory_gb - memory)).bf16_tflops * 1e12


def _wait(torch: Any, args: argparse.Namespace) -> None:
    if not args.tiny:
        torch.cuda.synchronize()


def _free() -> None:
    """What the side before held, before the next one's peak is measured."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tell(results: list[Result], args: argparse.Namespace, rows: TokenRows) -> None:
    if args.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
        return
    print(f"rows: {rows.num_rows}, longest {rows.lengths.max()}, mean {rows.lengths.mean():.0f} tokens")
    for r in results:
        if not r.step_seconds:
            print(f"{r.name:8}  not measured: {r.note}")
            continue
        mfu = "no MFU on a processor" if r.mfu is None else f"MFU {r.mfu:.1%}, peak {r.peak_gb:.1f} GB"
        print(
            f"{r.name:8}  {r.tokens_per_s:10.0f} tokens/s, {mfu}; median step {np.median(r.step_seconds):.3f} s; {r.note}"
        )
    measured = [r for r in results if r.step_seconds]
    if len(measured) == 2:
        print(f"offbook / trl: {measured[0].tokens_per_s / measured[1].tokens_per_s:.2f} x tokens/s")


if __name__ == "__main__":
    raise SystemExit(main())
