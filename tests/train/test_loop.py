"""The worker's loop itself, in this process as a group of one, without Ray."""

import json
from pathlib import Path

import pytest
from fit_runs import assert_alike, curve, make_job, settings_for, workers_seen
from group import kill_past_a_checkpoint

from train.adapter import WEIGHTS
from train.loop import FAILURE, WorkerSettings


@pytest.fixture(scope="module")
def unbroken(alone, config, tiny_model, rows, tmp_path_factory) -> Path:
    """A finished run that others are compared with."""
    folder = tmp_path_factory.mktemp("unbroken")
    alone(settings_for(config, tiny_model, folder, rows))
    return folder


def test_a_run_learns_and_leaves_a_verified_adapter(unbroken, tiny_model):
    losses = [loss for loss, _ in curve(unbroken)]
    manifest = json.loads((unbroken / "adapter" / "adapter.json").read_text())

    assert len(losses) == manifest["steps"] == 6
    assert sum(losses[3:]) < sum(losses[:3])
    assert manifest["tokens"] == 2 * sum(12 + 4 * n for n in range(11))
    assert manifest["seconds"] > 0 and manifest["skipped_rows"] == 0 and manifest["base"] == "tiny"
    assert sorted(f.name for f in unbroken.iterdir()) == ["adapter", "metrics.jsonl"]

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(unbroken / "adapter"))


@pytest.mark.parametrize("micro_batch_rows", [1, 4])
def test_the_loss_does_not_depend_on_accumulation(
    alone, unbroken, config, tiny_model, rows, tmp_path, micro_batch_rows
):
    alone(settings_for(config, tiny_model, tmp_path, rows, micro_batch_rows=micro_batch_rows))

    for (loss, norm), (other_loss, other_norm) in zip(curve(tmp_path), curve(unbroken), strict=True):
        assert loss == pytest.approx(other_loss, rel=1e-4)
        assert norm == pytest.approx(other_norm, rel=1e-3)


def test_the_first_loss_is_the_mean_over_all_tokens_under_loss(unbroken, config, tiny_model, rows):
    import torch

    from train.base import load_base
    from train.batches import plan_steps
    from train.rows import read_rows

    read = read_rows(rows, config)
    step = plan_steps(read, config, seed=3, num_workers=1)[0]
    model = load_base(str(tiny_model), "float32")
    losses = []
    for row in [row for slot in step.cells for cell in slot for row in cell]:
        ids, labels = (torch.tensor(a.tolist())[None] for a in read.tokens(row))
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1]
        losses += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")[
            labels[0, 1:] != -100
        ].tolist()

    # The adapter starts without effect, so the first step's loss is the base model's.
    assert curve(unbroken)[0][0] == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_a_run_that_stops_goes_on_as_if_unbroken(alone, unbroken, config, tiny_model, rows, tmp_path):
    settings = settings_for(config, tiny_model, tmp_path, rows, dropout=0.0)
    reports = []

    def stop(metrics):
        reports.append(metrics)
        if len(reports) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(settings, stop)
    # What a kill leaves behind: steps past the checkpoint, and a checkpoint that was not finished.
    with (tmp_path / "metrics.jsonl").open("a") as lost:
        lost.write('{"step": 99, "epoch": 9, "loss": 0.0, "loss_tokens": 1, "grad_norm": 0.0}\n')
    (tmp_path / "checkpoints" / ".partial-000005").mkdir()
    assert not (tmp_path / "adapter").exists()

    alone(settings)

    assert curve(tmp_path) == curve(unbroken)
    assert (tmp_path / "adapter" / WEIGHTS).read_bytes() == (unbroken / "adapter" / WEIGHTS).read_bytes()


def test_packed_rows_are_learnt_from_as_padded_ones(alone, unbroken, config, tiny_model, rows, tmp_path):
    alone(settings_for(config, tiny_model, tmp_path, rows, packing=True, gradient_checkpointing=True))

    for (loss, norm), (other_loss, other_norm) in zip(curve(tmp_path), curve(unbroken), strict=True):
        assert loss == pytest.approx(other_loss, rel=1e-4)
        assert norm == pytest.approx(other_norm, rel=1e-3)


def test_adapters_of_one_job_are_those_of_separate_jobs(alone, unbroken, config, tiny_model, rows, tmp_path):
    first = make_job(tmp_path / "first", rows, seed=5)
    second = make_job(tmp_path / "second", rows)  # seed 3, as `unbroken`
    alone(WorkerSettings(config=config, model=str(tiny_model), jobs=(first, second)))

    assert curve(tmp_path / "second") == curve(unbroken) != curve(tmp_path / "first")
    one, other = (folder / "adapter" / WEIGHTS for folder in (tmp_path / "second", unbroken))
    assert one.read_bytes() == other.read_bytes()


def test_a_base_that_training_moved_is_caught(alone, config, tiny_model, rows, tmp_path, monkeypatch):
    import train.loop

    whole = train.loop.gather_adapter

    def moved(model):
        model.get_base_model().get_decoder().norm.weight.data += 0.01
        return whole(model)

    monkeypatch.setattr(train.loop, "gather_adapter", moved)
    alone(settings_for(config, tiny_model, tmp_path, rows, epochs=1))

    assert not (tmp_path / "adapter").exists()
    assert "weights that moved" in json.loads((tmp_path / FAILURE).read_text())["message"]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_run_goes_on_under_another_zero_stage(alone, unbroken, config, tiny_model, rows, tmp_path, stage):
    def stop(metrics):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(settings_for(config, tiny_model, tmp_path, rows, zero_stage=stage), stop)

    alone(settings_for(config, tiny_model, tmp_path, rows, zero_stage=stage % 3 + 1))

    assert len(curve(tmp_path)) == 6
    for (loss, norm), (other_loss, other_norm) in zip(curve(tmp_path), curve(unbroken), strict=True):
        assert loss == pytest.approx(other_loss, rel=1e-4)
        assert norm == pytest.approx(other_norm, rel=1e-3)


def test_dropout_is_drawn_from_the_position(alone, config, tiny_model, rows, tmp_path):
    for folder in ("one", "two"):
        alone(settings_for(config, tiny_model, tmp_path / folder, rows, dropout=0.3, epochs=1))

    assert curve(tmp_path / "one") == curve(tmp_path / "two")


def test_an_adapter_that_fails_its_check_is_not_shown(alone, config, tiny_model, rows, tmp_path):
    # So small a rate that float32 weights stay as they are: nothing is learnt.
    settings = settings_for(config, tiny_model, tmp_path, rows, lr=1e-60, epochs=1)

    alone(settings)

    assert not (tmp_path / "adapter").exists()
    assert "every lora_B is zero" in json.loads((tmp_path / FAILURE).read_text())["message"]


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
