"""Tokenised rows and the order in which workers learn from them: numpy and Arrow only.

The plan is a function of (rows, settings, seed), so every worker computes all of it and no position needs storing.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from train.config import TrainConfig
from train.errors import MaskError, RowTooLongError, TrainError
from train.schema import TOKENS_SCHEMA

IGNORED = -100

WINDOW_STEPS = 8
"""Steps whose rows are sorted by length together: little padding, and still a fresh mixture in every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows:
    """The rows of one training run, in an order that does not depend on how they were written."""

    table: pa.Table
    num_skipped: int
    """Rows left out because they are too long."""
    sha256: str

    @property
    def num_rows(self) -> int:
        return self.table.num_rows

    @property
    def lengths(self) -> np.ndarray:  # [num_rows]
        return self.table["num_tokens"].to_numpy()

    @property
    def loss_lengths(self) -> np.ndarray:  # [num_rows]
        return self.table["num_loss_tokens"].to_numpy()

    def tokens(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """`(input_ids, labels)`, both [num_tokens]."""
        return (self.table["input_ids"][row].values.to_numpy(), self.table["labels"][row].values.to_numpy())


def read_rows(path: Path, config: TrainConfig) -> TokenRows:
    """The rows of a Parquet file, or of a folder of such files, fit to train on; `TrainError` says why not."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not all(f.is_file() for f in files):
        raise TrainError(
            f"no rows at {path}: neither a Parquet file nor a folder; build the training rows first"
        )
    table = pa.concat_tables([_read(f) for f in files]) if files else TOKENS_SCHEMA.empty_table()
    if table.num_rows == 0:
        raise TrainError(
            f"no successes to train on: {path} holds 0 rows; let the agent play more tasks or more attempts, "
            "or choose easier ones, and look at its episodes (`offbook report`) for why none succeeds"
        )
    table = _in_order(table)
    _check_masks(table, path)
    fits = pc.less_equal(table["num_tokens"], config.max_length)
    num_long = table.num_rows - pc.sum(fits).as_py()
    if num_long and config.too_long == "error":
        worst = table.slice(int(np.argmax(table["num_tokens"].to_numpy())), 1).to_pylist()[0]
        raise RowTooLongError(
            f"{num_long} of {table.num_rows} rows of {path} have more than max_length={config.max_length} tokens "
            f"(the longest: {worst['num_tokens']}, trajectory {worst['trajectory_id']}); raise max_length, or set "
            "too_long='skip' to leave them out (rows are never cut)"
        )
    if num_long == table.num_rows:
        raise TrainError(
            f"all {num_long} rows of {path} have more than max_length={config.max_length} tokens"
        )
    table = table.filter(fits).combine_chunks()
    return TokenRows(table=table, num_skipped=num_long, sha256=_hash(table))


def _read(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise TrainError(f"{file} is no Parquet file: {error}; build the training rows again") from error
    if missing := [name for name in TOKENS_SCHEMA.names if name not in table.column_names]:
        raise TrainError(f"{file} lacks the columns {', '.join(missing)}; it holds no tokenised rows")
    return table.select(TOKENS_SCHEMA.names).cast(TOKENS_SCHEMA)


def _in_order(table: pa.Table) -> pa.Table:
    # Parallel writers name their files at random, and the seeded order must be the same wherever rows were written.
    digests = [hashlib.sha256(ids.values.to_numpy().tobytes()).hexdigest() for ids in table["input_ids"]]
    keyed = table.append_column("_digest", pa.array(digests))
    order = [("trajectory_id", "ascending"), ("task_id", "ascending"), ("_digest", "ascending")]
    return keyed.take(pc.sort_indices(keyed, sort_keys=order)).drop_columns("_digest").combine_chunks()


def _check_masks(table: pa.Table, path: Path) -> None:
    for index in range(table.num_rows):
        ids, labels = (table[name][index].values.to_numpy() for name in ("input_ids", "labels"))
        under_loss = labels != IGNORED
        count, stated = int(under_loss.sum()), table["num_loss_tokens"][index].as_py()
        agree = len(ids) == len(labels) and count == stated and (labels == ids)[under_loss].all()
        if (
            agree and count > 0 and not under_loss[0]
        ):  # nothing stands before the first token to predict it from
            continue
        raise MaskError(
            f"row {table['trajectory_id'][index]} of {path}: {count} of {len(ids)} tokens carry loss "
            f"({stated} stated); none, all or other tokens than the row's own cannot be trained on: tokenise it again"
        )


def _hash(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for name in ("input_ids", "labels"):
        for chunk in table[name].chunks:
            digest.update(np.diff(chunk.offsets.to_numpy()).astype(np.int64).tobytes())
            digest.update(chunk.flatten().to_numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimiser step."""

    epoch: int
    cells: tuple[tuple[tuple[int, ...], ...], ...]  # [accumulation][worker][<= micro_batch_rows] row indices
    num_tokens: int
    num_loss_tokens: int
    """Over all workers and micro-batches: the divisor of the step's loss."""


def accumulation(config: TrainConfig) -> int:
    """Micro-batches of one worker in one step."""
    return math.ceil(config.batch_rows / (config.num_workers * config.micro_batch_rows))


def plan_steps(rows: TokenRows, config: TrainConfig, seed: int) -> list[Step]:
    """All steps of a run. Which rows make a step does not depend on the number of workers."""
    lengths, loss_lengths = rows.lengths, rows.loss_lengths
    steps = []
    for epoch in range(config.epochs):
        random = np.random.default_rng([seed, epoch])
        for batch in _batches(lengths, config.batch_rows, random):
            longest_first = batch[np.argsort(-lengths[batch], kind="stable")]
            steps.append(
                Step(
                    epoch=epoch,
                    cells=_deal([int(i) for i in longest_first], config),
                    num_tokens=int(lengths[batch].sum()),
                    num_loss_tokens=int(loss_lengths[batch].sum()),
                )
            )
    return steps


def _batches(lengths: np.ndarray, batch_rows: int, random: np.random.Generator) -> list[np.ndarray]:
    order = random.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), WINDOW_STEPS * batch_rows):
        window = order[start : start + WINDOW_STEPS * batch_rows]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches += [window[i : i + batch_rows] for i in range(0, len(window), batch_rows)]
    return [batches[i] for i in random.permutation(len(batches))]


def _deal(rows: list[int], config: TrainConfig) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Rows of like length to all workers at the same time, so that none waits for another."""
    width = config.num_workers * config.micro_batch_rows
    slots = [rows[i * width : (i + 1) * width] for i in range(accumulation(config))]
    return tuple(
        tuple(tuple(slot[w :: config.num_workers]) for w in range(config.num_workers)) for slot in slots
    )


def pad(rows: TokenRows, indices: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """`(input_ids, labels)`, both [num_rows, longest], padded on the right.

    A worker without rows gets one token without loss: it must join in the step, or its peers wait for ever.
    """
    if not indices:
        return np.zeros((1, 2), dtype=np.int64), np.full((1, 2), IGNORED, dtype=np.int64)
    pairs = [rows.tokens(i) for i in indices]
    longest = max(len(ids) for ids, _ in pairs)
    input_ids = np.zeros((len(pairs), longest), dtype=np.int64)
    labels = np.full((len(pairs), longest), IGNORED, dtype=np.int64)
    for at, (ids, row_labels) in enumerate(pairs):
        input_ids[at, : len(ids)] = ids
        labels[at, : len(row_labels)] = row_labels
    return input_ids, labels


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
