"""Rows that are too long become several: which tokens they hold, and which of them carry loss."""

import json

import numpy as np
import pytest
from training_rows import make_row, write_rows

from train.config import TrainConfig
from train.errors import RowTooLongError
from train.lengths import IGNORED, context_of, row_limit, split_row
from train.rows import read_rows


def conversation(turns: list[tuple[int, int]], tail: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Turns of (tokens asked, tokens said); every token is its own position, so that it can be found again."""
    labels: list[int] = []
    for asked, said in turns:
        labels += [IGNORED] * asked
        labels += range(len(labels), len(labels) + said)
    labels += [IGNORED] * tail
    return np.arange(len(labels), dtype=np.int32), np.array(labels, dtype=np.int32)


TURNS = [(20, 5), (10, 4), (7, 6), (12, 3), (9, 5), (11, 4), (6, 2)]


@pytest.mark.parametrize("limit", [46, 60, 75, 103])
def test_every_token_under_loss_is_trained_on_once_and_every_piece_opens_alike(limit):
    ids, labels = conversation(TURNS, tail=1)

    pieces = split_row(ids, labels, limit)

    assert len(pieces) > 1 and all(len(a) == len(b) <= limit for a, b in pieces)
    trained = np.concatenate([piece[piece != IGNORED] for _, piece in pieces])
    assert trained.tolist() == labels[labels != IGNORED].tolist()
    for piece_ids, piece_labels in pieces:
        assert piece_ids[:25].tolist() == list(range(25))
        under_loss = piece_labels != IGNORED
        assert (piece_labels == piece_ids)[under_loss].all()
    assert (pieces[0][1][:25] != IGNORED).sum() == 5
    assert all((piece[:25] == IGNORED).all() for _, piece in pieces[1:])
    assert pieces[-1][0][-1] == ids[-1]


def test_a_later_piece_shows_what_leads_up_to_its_turns_and_is_cut_at_turns():
    ids, labels = conversation(TURNS)
    ends = np.cumsum([0, *(a + b for a, b in TURNS)]).tolist()

    first, second, *_ = split_row(ids, labels, 75)

    assert len(first[0]) == ends[4]
    behind = second[0][25:]
    assert behind[0] in ends and (np.diff(behind) == 1).all()
    silent = behind[: int(np.argmax(second[1][25:] != IGNORED))]
    assert ends[3] in silent  # the turn before is there again, without loss


def test_a_turn_that_is_too_long_by_itself_is_an_error():
    ids, labels = conversation(TURNS)

    with pytest.raises(RowTooLongError, match=r"row a/1: its opening and first reply alone have 25 tokens"):
        split_row(ids, labels, 24, row_id="a/1")
    with pytest.raises(RowTooLongError, match=r"its opening and turn 3 alone have 40 tokens"):
        split_row(ids, labels, 39, row_id="a/1")


def test_a_run_reads_split_rows_and_counts_them(tmp_path):
    ids, labels = conversation(TURNS)
    long = make_row(1, 30) | {
        "input_ids": ids.tolist(),
        "labels": labels.tolist(),
        "num_tokens": len(ids),
        "num_loss_tokens": 29,
    }
    path = write_rows(tmp_path / "rows.parquet", [make_row(0, 30), long])

    read = read_rows(path, TrainConfig(max_length=60, too_long="split"))
    whole = read_rows(path, TrainConfig())

    assert (read.num_split, read.num_dropped) == (1, 0)
    assert read.num_rows == 1 + len(split_row(ids, labels, 60))
    assert read.loss_lengths.sum() == whole.loss_lengths.sum()
    assert read.lengths.max() <= 60 < whole.lengths.max()
    assert read.sha256 != whole.sha256


def test_the_models_context_is_read_from_its_config(tmp_path, tiny_model):
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8}))

    assert context_of(str(tiny_model)) == 2048
    assert context_of(str(tmp_path)) is context_of("Qwen/Qwen2.5-7B-Instruct") is None
    assert row_limit(TrainConfig(), None) is None
    assert row_limit(TrainConfig(max_length=64), 32) == 32
