from itertools import chain

import numpy as np
import pytest
from training_rows import make_row, write_rows

from train.batches import cell_seed, collate, lr_at, plan_steps
from train.config import PRESETS, TrainConfig, preset
from train.errors import MaskError, RowTooLongError, TrainError
from train.rows import read_rows


def test_each_epoch_visits_every_row_once_and_no_two_epochs_alike(rows, config):
    read = read_rows(rows, config)

    steps = plan_steps(read, config, seed=1, num_workers=1)

    epochs = [[row for s in steps if s.epoch == e for row in chain(*chain(*s.cells))] for e in range(2)]
    assert [sorted(rows_) for rows_ in epochs] == [list(range(11))] * 2
    assert epochs[0] != epochs[1]
    assert sum(s.num_tokens for s in steps) == 2 * read.lengths.sum()
    assert plan_steps(read, config, seed=1, num_workers=1) == steps
    assert plan_steps(read, config, seed=2, num_workers=1) != steps


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(
    ("num_workers", "micro_batch_rows"), [(1, 1), (1, 4), (2, 1), (2, 2), (3, 1), (8, 8)]
)
def test_the_rows_of_a_step_do_not_depend_on_who_computes_them(
    rows, config, num_workers, micro_batch_rows, packing
):
    read = read_rows(rows, config)
    other = config.model_copy(update={"micro_batch_rows": micro_batch_rows, "packing": packing})

    def contents(steps):
        return [(sorted(chain(*chain(*s.cells))), s.num_loss_tokens) for s in steps]

    steps = plan_steps(read, other, seed=0, num_workers=num_workers)
    assert contents(steps) == contents(plan_steps(read, config, seed=0, num_workers=1))
    for step in steps:
        assert all(len(slot) == num_workers for slot in step.cells)
        cells = list(chain(*step.cells))
        if packing:
            assert all(sum(read.lengths[list(cell)]) <= 64 for cell in cells)
        else:
            assert all(len(cell) <= micro_batch_rows for cell in cells)


def test_what_dropout_draws_does_not_depend_on_the_number_of_workers(rows, config):
    read = read_rows(rows, config)
    one_row = config.model_copy(update={"micro_batch_rows": 1})

    def draws(num_workers):
        steps = plan_steps(read, one_row, seed=0, num_workers=num_workers)
        cells = [(i, cell) for i, step in enumerate(steps) for slot in step.cells for cell in slot if cell]
        return {(i, *cell): cell_seed(0, i, cell) for i, cell in cells}

    assert draws(1) == draws(2) == draws(3)
    assert len(set(draws(1).values())) == len(draws(1))


def test_rows_of_like_length_stand_together(tmp_path, config):
    lengths = np.random.default_rng(0).integers(12, 64, 64)
    path = write_rows(
        tmp_path / "rows.parquet", [make_row(n, int(length)) for n, length in enumerate(lengths)]
    )
    read = read_rows(path, config)

    padded = sum(
        collate(read, cell, packed=False).input_ids.size
        for s in plan_steps(read, config, seed=0, num_workers=1)
        for slot in s.cells
        for cell in slot
        if cell
    )

    assert padded < 1.1 * 2 * read.lengths.sum()


def test_padding_stands_on_the_right_and_carries_no_loss(rows, config):
    read = read_rows(rows, config)

    batch = collate(read, (0, 3), packed=False)

    assert batch.input_ids.shape == batch.labels.shape == (2, 24)
    assert batch.input_ids[0, :12].tolist() == read.tokens(0)[0].tolist()
    assert set(batch.labels[0, 12:]) == {-100}
    assert batch.position_ids is None
    assert collate(read, (), packed=True).labels.tolist() == [[-100, -100]]


def test_order_and_hash_do_not_depend_on_how_rows_were_written(tmp_path, config):
    made = [make_row(n, 12 + 4 * (n % 5)) for n in range(8)]
    one = write_rows(tmp_path / "one.parquet", made)
    write_rows(tmp_path / "many" / "b.parquet", made[5:])
    write_rows(tmp_path / "many" / "a.parquet", made[4::-1])
    changed = write_rows(tmp_path / "changed.parquet", [*made[:7], make_row(7, 12 + 8, seed=1)])

    first, second = read_rows(one, config), read_rows(tmp_path / "many", config)

    assert first.sha256 == second.sha256 != read_rows(changed, config).sha256
    assert [first.tokens(i)[0].tolist() for i in range(8)] == [second.tokens(i)[0].tolist() for i in range(8)]


def test_no_rows_is_a_clear_error(tmp_path, config):
    (tmp_path / "empty").mkdir()

    for path in (write_rows(tmp_path / "none.parquet", []), tmp_path / "empty"):
        with pytest.raises(
            TrainError, match=f"no successes to train on: {path} holds 0 rows; let the agent play more"
        ):
            read_rows(path, config)
    with pytest.raises(TrainError, match="neither a Parquet file nor a folder"):
        read_rows(tmp_path / "nowhere", config)
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(TrainError, match="is no Parquet file"):
        read_rows(tmp_path / "text.parquet", config)


def test_rows_that_are_too_long_are_refused_or_dropped_but_never_cut(tmp_path, config):
    path = write_rows(tmp_path / "rows.parquet", [make_row(0, 64), make_row(1, 65), make_row(2, 99)])
    drop = config.model_copy(update={"too_long": "drop"})

    with pytest.raises(
        RowTooLongError, match=r"2 of 3 rows .* 64 tokens \(the longest: 99, trajectory 00002\)"
    ):
        read_rows(path, config)
    read = read_rows(path, drop)
    assert (read.num_rows, read.num_dropped, read.lengths.tolist()) == (1, 2, [64])
    with pytest.raises(TrainError, match="all 3 rows"):
        read_rows(path, drop.model_copy(update={"max_length": 10}))


def test_without_a_length_of_its_own_a_run_takes_what_the_data_has_up_to_the_models_context(tmp_path, config):
    path = write_rows(tmp_path / "rows.parquet", [make_row(0, 64), make_row(1, 300)])
    by_data = config.model_copy(update={"max_length": "data"})

    assert TrainConfig().max_length == "data"
    assert read_rows(path, by_data).lengths.tolist() == [64, 300]
    assert read_rows(path, by_data, context=300).lengths.tolist() == [64, 300]
    with pytest.raises(RowTooLongError, match=r"1 of 2 rows .* 299 tokens .* the model's context"):
        read_rows(path, by_data, context=299)
    with pytest.raises(RowTooLongError, match="64 tokens"):
        read_rows(path, config, context=300)


@pytest.mark.parametrize("plant", ["zeros", "ones", "foreign", "count"])
def test_planted_masks_are_caught_before_training(tmp_path, config, plant):
    row = make_row(7, 24)
    ids = row["input_ids"]
    bad = {
        "zeros": {"labels": [-100] * 24, "num_loss_tokens": 0},
        "ones": {"labels": ids, "num_loss_tokens": 24},
        "foreign": {"labels": [label if label == -100 else label + 1 for label in row["labels"]]},
        "count": {"num_loss_tokens": row["num_loss_tokens"] + 1},
    }[plant]

    with pytest.raises(MaskError, match=r"row 00007 .*tokenise it again"):
        read_rows(write_rows(tmp_path / "rows.parquet", [make_row(1, 24), row | bad]), config)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_rate_rises_to_its_peak_falls_and_is_never_zero(schedule):
    config = TrainConfig(lr=1.0, schedule=schedule, warmup_ratio=0.1)

    rates = [lr_at(step, 100, config) for step in range(100)]

    assert rates[:10] == sorted(rates[:10]) and rates[10] == max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert min(rates) > 0
    assert (rates[-1] < 0.05) == (schedule != "constant")
    assert lr_at(0, 1, config) == 1.0


def test_presets_are_valid_and_take_changes():
    assert {name: preset(name).rank for name in PRESETS} == {
        "recommended": 16,
        "paper": 64,
        "paper-webshop": 16,
        "pocket": 16,
    }
    assert preset("pocket", epochs=1).epochs == 1
    assert (
        preset("pocket").fingerprint
        == preset("pocket", epochs=4).fingerprint
        != preset("pocket", lr=1e-4).fingerprint
    )
    with pytest.raises(ValueError, match="unknown training preset 'tiny'; choose one of paper"):
        preset("tiny")
    with pytest.raises(ValueError, match="Extra inputs"):
        preset("pocket", learning_rate=1.0)
