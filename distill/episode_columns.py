"""Trajectories of one arm as columns: reads what figures need from Parquet and leaves the texts on disk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.trajectory import TRAJECTORY_SCHEMA, Trajectory, from_row, to_row
from envs.panel import Panel, PanelMismatchError

EpisodeSource: TypeAlias = str | Path | pa.Table | Sequence[str | Path | Trajectory | dict[str, Any]]
"""A Parquet file, a folder of them, a table, or a list of files, trajectories or rows."""

_TURN = "turns.list.element."
_COLUMNS = [
    *(
        "id",
        "task.env",
        "task.id",
        "task.goal",
        "agent",
        "model",
        "adapter",
        "seed",
        "end",
        "success",
        "score",
        "retries",
    ),
    # Files written before hints had turns lack the last one, and all of theirs were shown.
    *("hints.list.element.id", "hints.list.element.turn"),
    *(
        _TURN + name
        for name in ("action", "valid", "prompt_tokens", "cached_tokens", "completion_tokens", "seconds")
    ),
]


class EpisodeMismatchError(ValueError):
    """Episodes that cannot be one arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeColumns:
    """One arm's episodes, one array a figure, all of length num_episodes."""

    name: str
    ids: NDArray[Any]
    task: NDArray[np.int64]
    """Index into the panel's tasks."""
    seed: NDArray[np.int64]
    success: NDArray[np.bool_]
    score: NDArray[np.float64]
    steps: NDArray[np.int64]
    turns: NDArray[np.int64]
    invalid: NDArray[np.int64]
    hints: NDArray[np.int64]
    """Those shown, not those held ready."""
    prompt_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64]
    completion_tokens: NDArray[np.int64]
    retries: NDArray[np.int64]
    seconds: NDArray[np.float64]
    """Of its turns, the wait for the model included."""
    end: NDArray[Any]
    agent: str | None
    model: str | None
    adapter: str | None
    """Several adapters (training seeds) are joined by a comma."""
    num_duplicates: int = 0
    """Rows that repeated an episode already there, dropped."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def error(self) -> NDArray[np.bool_]:
        return np.asarray(self.end == "error")

    def where(self, keep: NDArray[Any]) -> "EpisodeColumns":
        """The episodes that a mask or an index selects."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return EpisodeColumns(**{k: v[keep] if isinstance(v, np.ndarray) else v for k, v in values.items()})


def read_episodes(name: str, source: EpisodeSource, panel: Panel) -> EpisodeColumns:
    """The episodes of arm `name`.

    Raises `PanelMismatchError` for a task that the panel does not hold and `EpisodeMismatchError` when two agents or
    models are mixed or one (task, seed) has two outcomes. A row written twice is dropped and counted.
    """
    table = _table(source)
    turns = _combined(table, "turns")
    turn_values, turn_lengths = turns.flatten(), _lengths(turns)

    def per_episode(values: NDArray[Any]) -> NDArray[np.int64]:
        ends = np.cumsum(turn_lengths)
        running = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
        return running[ends] - running[ends - turn_lengths]

    def summed(column: str) -> NDArray[np.int64]:
        return per_episode(_numpy(pc.fill_null(turn_values.field(column), 0)))

    columns = EpisodeColumns(
        name=name,
        ids=_numpy(table["id"]),
        task=_panel_index(name, table, panel),
        seed=_numpy(table["seed"]).astype(np.int64),
        success=_numpy(table["success"]).astype(np.bool_),
        score=_numpy(table["score"]).astype(np.float64),
        steps=per_episode(_numpy(pc.is_valid(turn_values.field("action")))),
        turns=turn_lengths,
        invalid=per_episode(~_numpy(turn_values.field("valid")).astype(np.bool_)),
        hints=_numpy(table["num_shown"]).astype(np.int64),
        prompt_tokens=summed("prompt_tokens"),
        cached_tokens=summed("cached_tokens"),
        completion_tokens=summed("completion_tokens"),
        retries=_numpy(pc.fill_null(table["retries"], 0)).astype(np.int64),
        seconds=_summed_floats(turn_values.field("seconds"), turn_lengths),
        end=_numpy(table["end"]),
        agent=_only(name, "agent", table),
        model=_only(name, "model", table),
        adapter=", ".join(sorted(str(v) for v in _distinct(table, "adapter"))) or None,
    )
    return _without_duplicates(columns, panel)


def paired(a: EpisodeColumns, b: EpisodeColumns) -> tuple[EpisodeColumns, EpisodeColumns]:
    """The episodes of (task, seed) pairs that both arms have, in one order."""
    seeds = np.unique(np.concatenate([a.seed, b.seed]))

    def pair_keys(columns: EpisodeColumns) -> NDArray[np.int64]:
        return columns.task * len(seeds) + np.searchsorted(seeds, columns.seed)

    _, in_a, in_b = np.intersect1d(pair_keys(a), pair_keys(b), assume_unique=True, return_indices=True)
    return a.where(in_a), b.where(in_b)


def load_trajectories(source: EpisodeSource, ids: Iterable[str]) -> list[Trajectory]:
    """The whole records of the given trajectory ids, in that order; ids that are not there are left out."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return []
    found: dict[str, Trajectory] = {}
    if isinstance(source, (str, Path)) or _are_paths(source):
        mask = pc.field("id").isin(wanted)
        rows = [row for path in _paths(source) for row in pq.read_table(path, filters=mask).to_pylist()]
        found = {row["id"]: from_row(row) for row in rows}
    else:
        table = _whole_table(source)
        rows = table.filter(pc.is_in(table["id"], pa.array(wanted))).to_pylist()
        found = {row["id"]: from_row(row) for row in rows}
    return [found[i] for i in wanted if i in found]


def _table(source: EpisodeSource) -> pa.Table:
    if isinstance(source, (str, Path)) or _are_paths(source):
        return pa.concat_tables([_counting_hints(_read(path)) for path in _paths(source)])
    return _counting_hints(_whole_table(source))


def _whole_table(source: EpisodeSource) -> pa.Table:
    """Records in memory, as one table."""
    if isinstance(source, pa.Table):
        return source
    records: Iterable[Any] = source  # type: ignore[assignment]  # Paths were told apart before.
    rows = [to_row(item) if isinstance(item, Trajectory) else item for item in records]
    return pa.Table.from_pylist(rows, schema=TRAJECTORY_SCHEMA)


def _counting_hints(table: pa.Table) -> pa.Table:
    """The table with the number of hints shown instead of the hints."""
    hints = _combined(table, "hints")
    counts = _lengths(hints)
    values = hints.flatten()
    if values.type.get_field_index("turn") >= 0:
        shown = np.concatenate([[0], np.cumsum(_numpy(pc.is_valid(values.field("turn"))), dtype=np.int64)])
        ends = np.cumsum(counts)
        counts = shown[ends] - shown[ends - counts]
    return table.drop_columns(["hints"]).append_column("num_shown", pa.array(counts, pa.int64()))


def _are_paths(source: Any) -> bool:
    return not isinstance(source, pa.Table) and bool(len(source)) and isinstance(source[0], (str, Path))


def _paths(source: Any) -> list[Path]:
    listed = [Path(source)] if isinstance(source, (str, Path)) else [Path(item) for item in source]
    paths = [
        file for path in listed for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])
    ]
    missing = [path for path in [*listed, *paths] if not path.exists()]
    if missing or not paths:
        raise FileNotFoundError(
            f"no trajectories at {missing[0] if missing else listed[0]}; run the stage that writes them"
        )
    return paths


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        record = (file.schema_arrow.metadata or {}).get(b"offbook_record", b"trajectory")
        if record != b"trajectory":
            raise EpisodeMismatchError(f"{path} holds {record.decode()} records, not trajectories")
        return file.read(columns=_COLUMNS).replace_schema_metadata(None)


def _combined(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    return _numpy(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)


def _summed_floats(values: pa.Array, lengths_N: NDArray[np.int64]) -> NDArray[np.float64]:
    episode = np.repeat(np.arange(len(lengths_N)), lengths_N)
    summed = np.bincount(episode, weights=_numpy(pc.fill_null(values, 0.0)), minlength=len(lengths_N))
    return summed.astype(np.float64)


def _numpy(array: Any) -> NDArray[Any]:
    return np.asarray(
        array.to_numpy() if isinstance(array, pa.ChunkedArray) else array.to_numpy(zero_copy_only=False)
    )


def _distinct(table: pa.Table, name: str) -> list[Any]:
    return [value for value in pc.unique(table[name]).to_pylist() if value is not None]


def _only(arm: str, name: str, table: pa.Table) -> str | None:
    values = sorted(_distinct(table, name))
    if len(values) > 1:
        raise EpisodeMismatchError(f"arm {arm} mixes {name}s {', '.join(values)}; give each its own arm")
    return values[0] if values else None


def _panel_index(arm: str, table: pa.Table, panel: Panel) -> NDArray[np.int64]:
    task = _combined(table, "task")
    keys = pc.binary_join_element_wise(task.field("env"), task.field("id"), "/")
    index = pc.index_in(keys, pa.array([t.key for t in panel.tasks], pa.string()))
    if index.null_count:
        foreign = pc.unique(keys.filter(pc.is_null(index)))
        raise PanelMismatchError(
            f"arm {arm} holds {len(foreign)} tasks that panel {panel.name} ({panel.sha256[:12]}) does not, first {foreign[0]}; "
            "evaluate every arm on one panel"
        )
    goals = pa.array([t.goal for t in panel.tasks], pa.string()).take(index)
    differ = pc.not_equal(goals, task.field("goal"))
    if pc.any(differ).as_py():
        first = keys.filter(differ)[0]
        raise PanelMismatchError(
            f"arm {arm} was played on another game than panel {panel.name} means by {first}: the goals differ; "
            "fetch the same data again and evaluate the arm once more"
        )
    return _numpy(index).astype(np.int64)


def _without_duplicates(columns: EpisodeColumns, panel: Panel) -> EpisodeColumns:
    order = np.lexsort((columns.seed, columns.task))
    sorted_ = columns.where(order)
    again = np.zeros(len(order), dtype=np.bool_)
    again[1:] = (sorted_.task[1:] == sorted_.task[:-1]) & (sorted_.seed[1:] == sorted_.seed[:-1])
    at = np.flatnonzero(again)
    differ = at[(sorted_.ids[at] != sorted_.ids[at - 1]) | (sorted_.success[at] != sorted_.success[at - 1])]
    if len(differ):
        first = differ[0]
        raise EpisodeMismatchError(
            f"arm {columns.name} holds {panel.tasks[sorted_.task[first]].key} with seed {sorted_.seed[first]} twice, with different "
            "episodes; keep one run of the arm, or give the runs different seeds"
        )
    return replace(sorted_.where(~again), num_duplicates=len(at))
