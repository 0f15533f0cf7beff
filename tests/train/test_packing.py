"""Rows in blocks: who lies where, and that no row feels that others are there."""

import numpy as np
import pytest
from training_rows import make_row, write_rows

from train.batches import collate
from train.config import TrainConfig
from train.packing import pack, waste
from train.rows import read_rows
from train.waste import describe_waste, waste_of


def test_rows_lie_first_fit_and_every_row_once():
    lengths = np.random.default_rng(0).integers(1, 100, 200).tolist()

    blocks = pack(lengths, 100)

    assert sorted(i for block in blocks for i in block) == list(range(200))
    sizes = [sum(lengths[i] for i in block) for block in blocks]
    assert max(sizes) <= 100 and sizes == sorted(sizes, reverse=True)
    assert len(blocks) <= 11 / 9 * (sum(lengths) / 100) + 1
    assert pack([60, 50, 40, 30, 20], 100) == [[0, 2], [1, 3, 4]]
    assert pack([150, 60, 40], 100) == [[0], [1, 2]]


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_blocks_are_a_multiple_of_the_workers_and_spread_over_them(workers):
    blocks = pack([50, 40, 30, 20, 10], 100, multiple_of=workers)

    assert len(blocks) % workers == 0
    assert sum(bool(block) for block in blocks) >= min(workers, 5)
    assert all(sum([50, 40, 30, 20, 10][i] for i in block) <= 100 for block in blocks)


def test_waste_counts_padding_and_waiting():
    padded = waste([[[10, 4], [6]], [[3], []]], packed=False)
    packed = waste([[[10, 4], [6]], [[3], []]], packed=True)

    assert (padded.num_tokens, padded.num_padded, padded.num_idle) == (23, 6, 14 + 3)
    assert (packed.num_padded, packed.num_idle) == (0, 8 + 3)
    assert padded.share == pytest.approx(23 / 46)


def test_a_run_says_what_packing_saves(tmp_path):
    lengths = np.random.default_rng(0).integers(12, 400, 64)
    made = [make_row(n, int(length)) for n, length in enumerate(lengths)]
    config = TrainConfig(batch_rows=16, micro_batch_rows=4, packing=True)
    read = read_rows(write_rows(tmp_path / "rows.parquet", made), config)
    padded = config.model_copy(update={"packing": False})

    before, after = (waste_of(read, c, 0, num_workers=1) for c in (padded, config))

    assert before.num_padded > 0 == after.num_padded == after.num_idle
    told = describe_waste(read, config, 0, num_workers=1)
    assert told.startswith("rows are packed: 0.0%") and f"padded: {before.share:.1%}" in told


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    return read_rows(write_rows(path, [make_row(n, 12 + 7 * n) for n in range(5)]), TrainConfig())


def test_positions_start_again_and_a_rows_first_token_is_not_predicted_from_another_row(read):
    batch = collate(read, (3, 0, 2), packed=True)

    assert batch.starts == (0, 33, 45)
    assert batch.position_ids[0].tolist() == [*range(33), *range(12), *range(26)]
    assert batch.input_ids.shape == batch.labels.shape == (1, 71)
    assert batch.labels[0, [0, 33, 45]].tolist() == [-100] * 3
    assert (batch.labels != -100).sum() == sum(read.loss_lengths[[3, 0, 2]])


@pytest.fixture(scope="module")
def losses(tiny_model):
    """Token losses of a batch by the random checkpoint, gradient checkpointing as it comes."""
    import torch

    from train.base import load_base
    from train.loss import TokenLoss, batch_tensors

    def compute(batch, *, logits_at_once=2**28, label_smoothing=0.0, checkpointing=False):
        base = load_base(str(tiny_model), "float32")
        if checkpointing:
            base.train()
            base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model = TokenLoss(base, label_smoothing, logits_at_once=logits_at_once)
        found = model.token_losses(**batch_tensors(batch, torch.device("cpu"), attention="sdpa"))
        found.sum().backward()
        return found.detach(), base.get_decoder().layers[0].mlp.up_proj.weight.grad.clone()

    return compute


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_rows_have_the_losses_and_gradients_of_rows_alone(read, losses, checkpointing):
    import torch

    cell = (4, 1, 0, 3)
    packed, gradient = losses(collate(read, cell, packed=True), checkpointing=checkpointing)
    alone = [losses(collate(read, (i,), packed=False)) for i in cell]

    assert len(packed) == sum(read.loss_lengths[list(cell)])
    assert torch.allclose(packed, torch.cat([found for found, _ in alone]), atol=1e-5, rtol=0)
    assert torch.allclose(gradient, sum(grad for _, grad in alone), atol=1e-4)


def test_without_positions_rows_would_see_each_other(read, losses):
    from dataclasses import replace

    packed = collate(read, (4, 1), packed=True)

    apart, _ = losses(packed)
    mixed, _ = losses(replace(packed, starts=None))

    assert (apart - mixed).abs().max() > 1e-2


def test_padded_rows_have_the_losses_of_rows_alone(read, losses):
    import torch

    padded, _ = losses(collate(read, (4, 0), packed=False))
    alone = [losses(collate(read, (i,), packed=False))[0] for i in (4, 0)]

    assert torch.allclose(padded, torch.cat(alone), atol=1e-5, rtol=0)


def test_logits_in_pieces_change_neither_loss_nor_gradient(read, losses):
    import torch

    batch = collate(read, (4, 1, 3), packed=True)
    whole, gradient = losses(batch, label_smoothing=0.1)
    pieces, piecewise = losses(batch, label_smoothing=0.1, logits_at_once=512 * 5)

    assert torch.allclose(whole, pieces, atol=1e-6) and torch.allclose(gradient, piecewise, atol=1e-5)


def test_a_worker_without_rows_has_a_loss_of_zero_and_a_way_back(read, losses):
    found, gradient = losses(collate(read, (), packed=True))

    assert found.tolist() == [0.0] and not gradient.any()


def test_a_model_that_scales_its_logits_is_asked_as_a_whole(tiny_model, read):
    import torch

    from train.base import load_base
    from train.loss import TokenLoss, batch_tensors

    tensors = batch_tensors(collate(read, (4, 0), packed=False), torch.device("cpu"), attention="sdpa")
    base = load_base(str(tiny_model), "float32")
    plain = TokenLoss(base)(**tensors).item()
    base.config.logits_scaling = 1.0  # says that the model does more than multiply; this one does not

    assert TokenLoss(base)(**tensors).item() == pytest.approx(plain, rel=1e-6)
