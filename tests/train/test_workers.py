"""Groups of workers, spawned without Ray: killed outright, more of them or fewer, under every ZeRO stage."""

import os
import signal
import time
from pathlib import Path

import pytest
from group import run_group, start_group
from runs import curve, settings_for

from train.adapter import WEIGHTS


def kill_past_a_checkpoint(settings, *, num_workers: int) -> None:
    """Start the group and kill -9 all of it once a checkpoint is there."""
    folder = Path(settings.jobs[0].folder)
    workers = start_group([settings], num_workers=num_workers)
    deadline = time.monotonic() + 600
    while not list(folder.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    assert list(folder.glob("checkpoints/step-*")) and not (folder / "adapter").exists()


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
    import json

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["workers"] for line in lines]


@pytest.mark.timeout(600)
def test_two_workers_killed_outright_are_followed_by_one(alone, config, tiny_model, rows, tmp_path):
    changes = {"epochs": 8, "micro_batch_rows": 1, "dropout": 0.1, "packing": False}
    one = settings_for(config, tiny_model, tmp_path / "one", rows, **changes)
    two = settings_for(config, tiny_model, tmp_path / "two", rows, **changes, num_workers=2)
    then_one = settings_for(config, tiny_model, tmp_path / "two", rows, **changes, num_workers=1)

    kill_past_a_checkpoint(two, num_workers=2)
    alone(then_one)
    alone(one)

    seen = workers_seen(tmp_path / "two")
    assert seen == sorted(seen, reverse=True) and set(seen) == {1, 2}
    assert_alike(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_workers_and_every_zero_stage_learn_the_same(unbroken, config, tiny_model, rows, tmp_path):
    groups = [
        settings_for(config, tiny_model, tmp_path / f"zero{stage}", rows, num_workers=2, zero_stage=stage)
        for stage in (3, 2, 1)  # 3 first: it alone needs the group before it reads the model
    ]
    groups += [
        settings_for(config, tiny_model, tmp_path / f"packed{stage}", rows, zero_stage=stage, packing=True)
        for stage in (1, 2, 3)
    ]
    groups.append(settings_for(config, tiny_model, tmp_path / "micro1", rows, micro_batch_rows=1))

    run_group(groups, num_workers=2)

    for settings in groups:
        assert_alike(Path(settings.jobs[0].folder), unbroken)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_two_workers_killed_outright_go_on_as_if_unbroken(config, tiny_model, rows, tmp_path, zero_stage):
    changes = {"num_workers": 2, "zero_stage": zero_stage, "epochs": 12}
    broken = settings_for(config, tiny_model, tmp_path / "broken", rows, **changes)
    whole = settings_for(config, tiny_model, tmp_path / "whole", rows, **changes)

    kill_past_a_checkpoint(broken, num_workers=2)
    run_group([broken, whole], num_workers=2)

    assert curve(tmp_path / "broken") == curve(tmp_path / "whole")
    one, other = (tmp_path / n / "adapter" / WEIGHTS for n in ("broken", "whole"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_workers_goes_on(config, tiny_model, rows, tmp_path, zero_stage, before, after):
    # Rank 1: tensors that three workers cannot share alike.
    changes = {"zero_stage": zero_stage, "epochs": 8, "rank": 1, "micro_batch_rows": 1}
    broken = settings_for(config, tiny_model, tmp_path / "broken", rows, **changes)
    whole = settings_for(config, tiny_model, tmp_path / "whole", rows, **changes)

    kill_past_a_checkpoint(broken, num_workers=before)
    run_group([broken, whole], num_workers=after)

    seen = workers_seen(tmp_path / "broken")
    assert set(seen) == {before, after} and seen[0] == before
    assert_alike(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_adapters_of_one_spread_job_are_those_of_separate_jobs(config, tiny_model, rows, tmp_path):
    from runs import make_job

    from train.loop import WorkerSettings

    spread = config.model_copy(update={"zero_stage": 3, "num_workers": 2})
    jobs = (make_job(tmp_path / "first", rows, seed=5), make_job(tmp_path / "second", rows))
    together = WorkerSettings(config=spread, model=str(tiny_model), jobs=jobs)
    apart = settings_for(spread, tiny_model, tmp_path / "apart", rows)

    run_group([together, apart], num_workers=2)

    assert curve(tmp_path / "second") == curve(tmp_path / "apart")
    one, other = (tmp_path / n / "adapter" / WEIGHTS for n in ("second", "apart"))
    assert one.read_bytes() == other.read_bytes()
