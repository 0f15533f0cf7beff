"""Training runs as tests ask for them, and what is left of them."""

import json
from pathlib import Path

import pytest

from train.adapter import WEIGHTS
from train.loop import Job, WorkerSettings


def make_job(folder: Path, rows: Path, *, seed: int = 3) -> Job:
    return Job(
        name="a", rows=str(rows), folder=str(folder), seed=seed, key=f"key-{seed}", identity={"base": "tiny"}
    )


def settings_for(config, model: Path, folder: Path, rows: Path, **changes) -> WorkerSettings:
    changed = config.model_copy(update=changes)
    return WorkerSettings(config=changed, model=str(model), jobs=(make_job(folder, rows),))


def curve(folder: Path) -> list[tuple[float, float]]:
    return [
        (r["loss"], r["grad_norm"])
        for r in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    ]


def assert_alike(folder: Path, other: Path) -> None:
    """The same curve and the same adapter, but for the order of additions."""
    import torch
    from safetensors.torch import load_file

    for (loss, norm), (other_loss, other_norm) in zip(curve(folder), curve(other), strict=True):
        assert loss == pytest.approx(other_loss, rel=1e-3), folder
        assert norm == pytest.approx(other_norm, rel=1e-2), folder
    tensors, others = (load_file(f / "adapter" / WEIGHTS) for f in (folder, other))
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert tensor.shape == others[name].shape and tensor.dtype == others[name].dtype
        # AdamW moves a weight whose gradient is all rounding by its sign: a few of many may part.
        close = torch.isclose(tensor, others[name], atol=5e-3, rtol=5e-2).float().mean()
        assert close > 0.95, name


def workers_seen(folder: Path) -> list[int]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["workers"] for line in lines]
