"""Tokenised rows as one training run reads them: checked, in an order of their own, none longer than can be trained on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from train.config import TrainConfig
from train.errors import MaskError, RowTooLongError, TrainError
from train.lengths import IGNORED, row_limit, split_row
from train.schema import TOKENS_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows:
    """The rows of one training run, in an order that does not depend on how they were written."""

    table: pa.Table
    num_dropped: int
    """Rows left out because they are too long."""
    num_split: int
    """Rows that several stand for, because they are too long."""
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


def read_rows(path: Path, config: TrainConfig, *, context: int | None = None) -> TokenRows:
    """The rows of a Parquet file, or of a folder of such files, fit to train on; `TrainError` says why not.

    `context`: tokens that the model's positions reach.
    """
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
    limit = row_limit(config, context)
    num_long = 0 if limit is None else int((table["num_tokens"].to_numpy() > limit).sum())
    if num_long:
        assert limit is not None
        table = _fit(table, limit, num_long, config.too_long, path)
    return TokenRows(
        table=table,
        num_dropped=num_long if config.too_long == "drop" else 0,
        num_split=num_long if config.too_long == "split" else 0,
        sha256=_hash(table),
    )


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


def _fit(table: pa.Table, limit: int, num_long: int, policy: str, path: Path) -> pa.Table:
    """The table without rows of more than `limit` tokens."""
    if policy == "error":
        worst = table.slice(int(np.argmax(table["num_tokens"].to_numpy())), 1).to_pylist()[0]
        raise RowTooLongError(
            f"{num_long} of {table.num_rows} rows of {path} have more than {limit} tokens (the longest: "
            f"{worst['num_tokens']}, trajectory {worst['trajectory_id']}), the limit of max_length and the model's context; raise "
            "max_length, set too_long='split' to make several rows of such a one at its turns, or too_long='drop' to leave them out "
            "(rows are never cut)"
        )
    if policy == "split":
        return _split(table, limit)
    if num_long == table.num_rows:
        raise TrainError(f"all {num_long} rows of {path} have more than {limit} tokens; raise max_length")
    return table.filter(pc.less_equal(table["num_tokens"], limit)).combine_chunks()


def _split(table: pa.Table, limit: int) -> pa.Table:
    rows = []
    for row in table.to_pylist():
        if row["num_tokens"] <= limit:
            rows.append(row)
            continue
        ids, labels = (np.array(row[name], dtype=np.int32) for name in ("input_ids", "labels"))
        for piece_ids, piece_labels in split_row(ids, labels, limit, row_id=row["trajectory_id"]):
            counts = {
                "num_tokens": len(piece_ids),
                "num_loss_tokens": int((piece_labels != IGNORED).sum()),
            }
            rows.append(row | {"input_ids": piece_ids, "labels": piece_labels} | counts)
    return pa.Table.from_pylist(rows, schema=TOKENS_SCHEMA).combine_chunks()


def _hash(table: pa.Table) -> str:
    digest = hashlib.sha256()
    for name in ("input_ids", "labels"):
        for chunk in table[name].chunks:
            digest.update(np.diff(chunk.offsets.to_numpy()).astype(np.int64).tobytes())
            digest.update(chunk.flatten().to_numpy().tobytes())
    return digest.hexdigest()
