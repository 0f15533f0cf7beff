"""The order in which workers learn from rows, and what each of them computes at once: numpy only.

The plan is a function of (rows, settings, seed), so every worker computes all of it and no position needs storing; which rows make a
step depends neither on how many workers there are nor on how rows are laid out for them.
"""

import math
from dataclasses import dataclass

import numpy as np

from train.config import TrainConfig
from train.lengths import IGNORED
from train.packing import pack
from train.rows import TokenRows

WINDOW_STEPS = 8
"""Steps whose rows are sorted by length together: little padding, and still a fresh mixture in every epoch."""

_ROUNDED_TO = 64

Cell = tuple[int, ...]
"""Rows that one worker computes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimiser step."""

    epoch: int
    cells: tuple[tuple[Cell, ...], ...]  # [accumulation][worker] row indices
    num_tokens: int
    num_loss_tokens: int
    """Over all workers and micro-batches: the divisor of the step's loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a worker computes at once."""

    input_ids: np.ndarray  # [B, T]
    labels: np.ndarray  # [B, T], -100 where there is no loss
    starts: tuple[int, ...] | None = None
    """Of packed rows: where each begins in the one block there is. None: rows are padded on the right."""

    @property
    def position_ids(self) -> np.ndarray | None:  # [B, T]
        """Of packed rows: counted from each row's start, which is what keeps their attention apart."""
        if self.starts is None:
            return None
        ends = [*self.starts[1:], self.input_ids.shape[1]]
        return np.concatenate([np.arange(b - a) for a, b in zip(self.starts, ends, strict=True)])[None]


def plan_steps(rows: TokenRows, config: TrainConfig, seed: int, *, num_workers: int) -> list[Step]:
    """All steps of a run of `num_workers` workers."""
    lengths, loss_lengths = rows.lengths, rows.loss_lengths
    steps = []
    for epoch in range(config.epochs):
        random = np.random.default_rng([seed, epoch])
        for batch in _batches(lengths, config.batch_rows, random):
            longest_first = batch[np.argsort(-lengths[batch], kind="stable")]
            cells = _cells([int(i) for i in longest_first], lengths, config, num_workers)
            steps.append(
                Step(
                    epoch=epoch,
                    cells=tuple(tuple(cells[i : i + num_workers]) for i in range(0, len(cells), num_workers)),
                    num_tokens=int(lengths[batch].sum()),
                    num_loss_tokens=int(loss_lengths[batch].sum()),
                )
            )
    return steps


def block_length(lengths: np.ndarray, config: TrainConfig) -> int:
    """Tokens that a block may hold."""
    return config.block_tokens or math.ceil(int(lengths.max()) / _ROUNDED_TO) * _ROUNDED_TO


def _batches(lengths: np.ndarray, batch_rows: int, random: np.random.Generator) -> list[np.ndarray]:
    order = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), WINDOW_STEPS * batch_rows):
        window = order[start : start + WINDOW_STEPS * batch_rows]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[i : i + batch_rows] for i in range(0, len(window), batch_rows)]
    return [batches[i] for i in random.permutation(len(batches))]


def _cells(
    longest_first: list[int], lengths: np.ndarray, config: TrainConfig, num_workers: int
) -> list[Cell]:
    """A multiple of `num_workers` cells, the largest first, so that workers have alike at the same time and none waits for another."""
    if config.packing:
        sizes = [int(lengths[i]) for i in longest_first]
        blocks = pack(sizes, block_length(lengths, config), multiple_of=num_workers)
        return [tuple(longest_first[i] for i in block) for block in blocks]
    at_once = num_workers * config.micro_batch_rows
    num_cells = num_workers * math.ceil(len(longest_first) / at_once)
    return [tuple(int(i) for i in part) for part in np.array_split(longest_first, num_cells)]


def collate(rows: TokenRows, cell: Cell, *, packed: bool) -> Batch:
    """A worker without rows gets two tokens without loss: it must join in the step, or its peers wait for ever."""
    if not cell:
        return Batch(
            input_ids=np.zeros((1, 2), dtype=np.int64), labels=np.full((1, 2), IGNORED, dtype=np.int64)
        )
    pairs = [rows.tokens(i) for i in cell]
    return _end_to_end(pairs) if packed else _padded(pairs)


def _end_to_end(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Batch:
    starts = np.cumsum([0, *(len(ids) for ids, _ in pairs[:-1])])
    labels = np.concatenate([row_labels for _, row_labels in pairs]).astype(np.int64)
    # What stands before a row's first token is another row's last: nothing to predict it from.
    labels[starts] = IGNORED
    return Batch(
        input_ids=np.concatenate([ids for ids, _ in pairs]).astype(np.int64)[None],
        labels=labels[None],
        starts=tuple(int(start) for start in starts),
    )


def _padded(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Batch:
    longest = max(len(ids) for ids, _ in pairs)
    input_ids = np.zeros((len(pairs), longest), dtype=np.int64)
    labels = np.full((len(pairs), longest), IGNORED, dtype=np.int64)
    for at, (ids, row_labels) in enumerate(pairs):
        input_ids[at, : len(ids)] = ids
        labels[at, : len(row_labels)] = row_labels
    return Batch(input_ids=input_ids, labels=labels)


def cell_seed(seed: int, step: int, cell: Cell) -> int:
    """Of dropout's draws: from the position and the rows alone, so that a resumed run, on as many workers or not, drops what an
    unbroken one drops."""
    return int(np.random.SeedSequence([seed, step, *cell[:1]]).generate_state(1)[0])


def lr_at(step: int, num_steps: int, config: TrainConfig) -> float:
    """The learning rate of a step, counted from 0; never zero, so that even a run of one step learns."""
    warmup = math.ceil(config.warmup_ratio * num_steps) if num_steps > 1 else 0
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    left = (num_steps - step) / max(1, num_steps - warmup)  # 1 at the peak, just above 0 at the end
    if config.schedule == "linear":
        return config.lr * left
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 - math.cos(math.pi * left))
    return config.lr
