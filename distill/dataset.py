"""Trajectories in, training rows out: keep successes, strip the hints, tokenise, prove every mask, audit, write.

One Ray Data pipeline whose rows go through `RowMaker`, a plain function of a value; the driver only streams what comes out to disk, so memory
does not grow with the number of episodes. The same input gives the same files.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.agents import make_agent
from actors.agents.base import Agent
from actors.config import AgentConfig
from actors.trajectory import TRAJECTORY_SCHEMA, Trajectory, from_row
from distill.audit import LeakAuditor, LeakError, leak_message
from distill.config import LeakPolicy
from distill.dataset_card import DatasetSummary, Sample, Tally, write_card
from distill.dataset_stream import ordered_places, stream
from distill.rewrite import rewrite
from distill.strip import RowFilter, heard, hint_block_lines, strip, why_left_out
from train.errors import MaskError, RowTooLongError
from train.schema import SFT_SCHEMA, TOKENS_SCHEMA
from train.tokenize import IGNORED, loss_by_role, prove_mask, to_tokens_row

log = logging.getLogger(__name__)

ROWS, TOKENS = "rows.parquet", "tokens.parquet"

_ROLES_EVERY = 8
"""Of so many rows one is read a second time for who says what is under loss."""
_SAMPLES = 2
_DONE = pa.schema(
    [
        ("task_id", pa.string()),
        ("seed", pa.int64()),
        ("trajectory_id", pa.string()),
        ("part", pa.int32()),  # number of the row within its episode
        ("kind", pa.string()),
        ("left_out", pa.string()),  # why; null for a row
        ("broken", pa.string()),  # a mask that could not be proven
        ("leaks", pa.list_(pa.struct([("check", pa.string()), ("message", pa.string())]))),
        ("rewritten", pa.list_(pa.string())),  # leaks that were taken out, as messages
        (
            "loss_by_role",
            pa.list_(pa.struct([("role", pa.string()), ("tokens", pa.int32())])),
        ),  # null: not looked up
        ("num_prompt_tokens", pa.int32()),  # up to the first reply
        ("num_hints", pa.int32()),
        ("messages", SFT_SCHEMA.field("messages").type),
        ("arm", pa.string()),
        ("input_ids", TOKENS_SCHEMA.field("input_ids").type),
        ("labels", TOKENS_SCHEMA.field("labels").type),
        ("num_tokens", pa.int32()),
        ("num_loss_tokens", pa.int32()),
    ]
)


class DatasetError(RuntimeError):
    """No dataset can be made of these episodes; the message says what to do."""


def build_dataset(
    trajectories: Sequence[Path],
    *,
    agent: AgentConfig,
    env_name: str,
    model_path: str,
    arm: str,
    out_dir: Path,
    max_length: int | None = None,
    filters: RowFilter = RowFilter(),
    left_out: Mapping[str, str] = MappingProxyType({}),
    keep_hints: bool = False,
    on_leak: LeakPolicy = "fail",
    too_long: Literal["error", "split", "drop"] = "error",
) -> DatasetSummary:
    """Write `rows.parquet`, `tokens.parquet`, `card.json` and `card.md` to `out_dir`.

    `trajectories` are Parquet files or folders of them; several stages are joined and an episode that comes twice is taken once. Rows are in
    the order of (task, seed, trajectory). `left_out` gives the reason for each episode, by id, that is to become no row. `keep_hints` is a
    control: prompts keep their hints, and nothing is looked for. Needs a Ray that runs. Raises `DatasetError` without a single row, `LeakError` on a leak unless
    `on_leak` is "drop" or "rewrite", `DatasetError` on a row of more than `max_length` tokens unless `too_long` is "drop", and `MaskError` on a mask that cannot be proven.
    """
    files = _files(trajectories)
    out_dir.mkdir(parents=True, exist_ok=True)
    player = make_agent(agent, env_name)
    auditor = None if keep_hints else _auditor(files, player)
    num_hints = len(auditor.hints) if auditor else 0
    log.info("dataset %s: %d files, looking for %d hints", arm, len(files), num_hints)
    make = RowMaker(
        agent=player,
        auditor=auditor,
        max_length=max_length,
        filters=filters,
        left_out=left_out,
        on_leak=on_leak,
    )
    tally = Tally(
        arm=arm,
        num_hints=num_hints,
        on_leak=on_leak,
        max_length=max_length,
        filters=filters.model_dump(),
    )
    shown: list[dict[str, Any]] = []
    with _parts(out_dir) as (rows, tokens):
        for batch in _stream(files, make, model_path):
            kept = [row for row in batch.to_pylist() if tally.add(row)]
            shown += kept[: _SAMPLES - len(shown)]
            _raise_on_first_problem(tally)
            if too_long == "error":
                _raise_on_too_long(tally, max_length)
            for row in kept:
                row["arm"] = arm
            rows.write(_table(kept, SFT_SCHEMA))
            tokens.write(_table(kept, TOKENS_SCHEMA))
        _raise_on_leaks(tally)
        _raise_on_nothing(tally)
    summary = write_card(
        tally,
        out_dir,
        rows=out_dir / ROWS,
        tokens=out_dir / TOKENS,
        sources=files,
        agent=player.name,
        model_path=model_path,
        samples=[_sample(row, _tokenizer(model_path)) for row in shown],
    )
    log.info(
        "dataset %s: %d rows, %d tokens, %d of them with loss",
        arm,
        summary.num_rows,
        summary.num_tokens,
        summary.num_loss_tokens,
    )
    return summary


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMaker:
    """Turns one episode into its rows; everything it needs but the tokenizer, which each worker loads for itself."""

    agent: Agent
    auditor: LeakAuditor | None
    """None: hints stay in the prompts and nothing is looked for."""
    max_length: int | None = None
    filters: RowFilter = field(default_factory=RowFilter)
    left_out: Mapping[str, str] = field(default_factory=dict)
    """By episode id, why it becomes no row."""
    on_leak: LeakPolicy = "fail"

    def __call__(self, row: dict[str, Any], tokenizer: Any) -> list[dict[str, Any]]:
        """Rows of the pipeline from one of `TRAJECTORY_SCHEMA`: those of the dataset, or one that says why there are none.

        Never raises for what is wrong with the episode itself.
        """
        trajectory = from_row(row)
        done: dict[str, Any] = {
            "task_id": trajectory.task.key,
            "seed": trajectory.seed,
            "trajectory_id": trajectory.id,
            "part": 0,
            "kind": trajectory.task.kind,
            "num_hints": len(trajectory.shown_hints),
            "leaks": [],
        }
        reason = (
            why_left_out(trajectory, self.filters)
            or self.left_out.get(trajectory.id)
            or _special_token_in(trajectory.turns, tokenizer)
        )
        if reason:
            return [done | {"left_out": reason}]
        rows, leaks = self._rows_and_leaks(trajectory, tokenizer)
        if not leaks:
            return [done | columns for columns in rows]
        if self.auditor is None or self.on_leak != "rewrite":
            return [done | rows[0] | {"leaks": leaks}]
        cleaned = rewrite(trajectory, self.auditor, self.agent, heard(trajectory, self.agent))
        if cleaned is None or why_left_out(cleaned, self.filters):
            return [done | rows[0] | {"leaks": leaks}]
        # Audited again as a whole: what is left of a hint elsewhere still keeps the row out.
        rows, left = self._rows_and_leaks(cleaned, tokenizer)
        rewritten = {"rewritten": [leak["message"] for leak in leaks]}
        if left:
            return [done | rows[0] | {"leaks": left} | rewritten]
        return [done | rows[0] | rewritten, *(done | columns for columns in rows[1:])]

    def _rows_and_leaks(
        self, trajectory: Trajectory, tokenizer: Any
    ) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """The stripped episode's columns, or why there are none; and what its decoded tokens leak."""
        rows: list[dict[str, Any]] = []
        spoken: list[str] = []
        try:
            for part, stripped in enumerate(strip(trajectory, self.agent, keep_hints=self.auditor is None)):
                columns, said = self._columns(stripped, trajectory, tokenizer)
                rows.append(columns | {"part": part})
                spoken += said
        except RowTooLongError:
            return [{"left_out": _too_long(self.max_length)}], []
        except MaskError as error:
            return [{"broken": str(error)}], []
        if self.auditor is None:
            return rows, []
        leaks = self.auditor.spoken(spoken, heard(trajectory, self.agent), trajectory.task.goal)
        # The last row holds what those before it hold.
        leaks += self.auditor.unspoken(tokenizer.decode(rows[-1]["input_ids"], skip_special_tokens=False))
        return rows, [
            {"check": leak.check, "message": leak_message(trajectory.task.key, leak)} for leak in leaks
        ]

    def _columns(
        self, stripped: dict[str, Any], trajectory: Trajectory, tokenizer: Any
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """One row's tokens, and the texts under loss once they are proven."""
        tokens = to_tokens_row(stripped, tokenizer, max_length=self.max_length)
        spoken = prove_mask(
            tokens,
            tokenizer,
            messages=stripped["messages"],
            row_id=f"{trajectory.task.key} {trajectory.id}",
        )
        if int(trajectory.id, 16) % _ROLES_EVERY == 0:
            roles = loss_by_role(tokens, stripped["messages"], tokenizer)
            tokens["loss_by_role"] = [{"role": role, "tokens": count} for role, count in roles.items()]
        first_reply = next(i for i, label in enumerate(tokens["labels"]) if label != IGNORED)
        return tokens | {"messages": stripped["messages"], "num_prompt_tokens": first_reply}, spoken


def _sample(row: dict[str, Any], tokenizer: Any) -> Sample:
    """A row's tokens as text; those that hold parts of one letter are shown as one."""
    pieces: list[tuple[str, bool]] = []
    waiting: list[int] = []
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        waiting.append(token)
        text = tokenizer.decode(waiting, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if text.endswith("\ufffd") and len(waiting) < 4:
            continue
        pieces.append((text, label != IGNORED))
        waiting = []
    return Sample(task_id=row["task_id"], trajectory_id=row["trajectory_id"], pieces=tuple(pieces))


def _stream(files: Sequence[Path], make: RowMaker, model_path: str) -> Iterator[pa.Table]:
    """Finished rows in order; an episode that comes twice comes once."""
    import ray

    if not ray.is_initialized():
        raise DatasetError(
            "Ray is not running; start it first (`offbook run` does, or `with ray_cluster(...)` of distill.cluster)"
        )

    def make_rows(rows: list[dict[str, Any]]) -> pa.Table:
        tokenizer = _tokenizer(model_path)
        return _table([done for row in rows for done in make(row, tokenizer)], _DONE)

    yield from stream(files, ordered_places(files), make_rows, TRAJECTORY_SCHEMA.names)


@contextmanager
def _parts(out_dir: Path) -> Iterator[tuple[pq.ParquetWriter, pq.ParquetWriter]]:
    """Both files under other names until everything is well: what lies under the right name is whole and audited."""
    partial = [out_dir / f".{name}.partial" for name in (ROWS, TOKENS)]
    try:
        with (
            pq.ParquetWriter(partial[0], SFT_SCHEMA) as rows,
            pq.ParquetWriter(partial[1], TOKENS_SCHEMA) as tokens,
        ):
            yield rows, tokens
        for path, name in zip(partial, (ROWS, TOKENS), strict=True):
            path.replace(out_dir / name)
    finally:
        for path in partial:
            path.unlink(missing_ok=True)


def _auditor(files: Sequence[Path], agent: Agent) -> LeakAuditor:
    """Looks for every hint that any of the episodes was given, not only its own."""
    hints: set[str] = set()
    lines: set[str] = set()
    allowed = ""
    for file in files:
        given: set[str] = set()
        for batch in pq.ParquetFile(file).iter_batches(columns=["hints"]):
            given.update(pc.struct_field(pc.list_flatten(batch["hints"]), "text").to_pylist())
        if given:
            trajectory = _first_hinted(file)
            lines |= {
                line
                for line in hint_block_lines(trajectory, agent)
                if not any(h.text in line for h in trajectory.hints)
            }
            allowed = "\n".join(m.content for m in agent.render(trajectory.task, "", (), ()))
            hints |= given
    return LeakAuditor(hints=tuple(sorted(hints)), block_lines=frozenset(lines), allowed=allowed)


def _first_hinted(file: Path) -> Trajectory:
    batches = pq.ParquetFile(file).iter_batches(batch_size=64)
    return next(from_row(row) for batch in batches for row in batch.to_pylist() if row["hints"])


@cache
def _tokenizer(model_path: str) -> Any:
    # Once a process: a Ray worker makes many batches.
    from actors.tokenizer import load_tokenizer

    return load_tokenizer(model_path)


def _special_token_in(turns: Sequence[Any], tokenizer: Any) -> str | None:
    # Trained on, it would teach the model to end or fake a turn.
    special = any(token in turn.reply for turn in turns for token in tokenizer.all_special_tokens)
    return "a reply holds a special token" if special else None


def _files(trajectories: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in trajectories:
        found = sorted(path.rglob("*.parquet")) if path.is_dir() else [path] if path.exists() else []
        if not found:
            raise DatasetError(f"no trajectories at {path}; run the rollout stage that makes them")
        files += found
    for file in files:
        record = (pq.read_schema(file).metadata or {}).get(b"offbook_record", b"something else").decode()
        if record != "trajectory":
            raise DatasetError(f"{file} holds {record}, not trajectories; pass the files that rollouts wrote")
    return files


def _table(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in schema.names} for row in rows], schema=schema
    )


def _raise_on_first_problem(tally: Tally) -> None:
    if tally.broken:
        raise MaskError(tally.broken[0])


def _too_long(max_length: int | None) -> str:
    return f"more than {max_length} tokens"


def _raise_on_too_long(tally: Tally, max_length: int | None) -> None:
    # The end of a long episode is where its goal is reached: neither cut nor dropped without being asked to.
    if tally.left_out[_too_long(max_length)]:
        raise DatasetError(
            f"arm {tally.arm!r} has a success of {_too_long(max_length)}; raise train.max_length, "
            "set train.too_long = 'split' to make several rows of such a one, or 'drop' to leave them out and count them in the card"
        )


def _raise_on_leaks(tally: Tally) -> None:
    if tally.leaks and tally.on_leak == "fail":
        others = (
            f" (and {tally.num_leaking - 1} rows more; dataset.leaks = 'drop' leaves them out and counts them)"
            if tally.num_leaking > 1
            else ""
        )
        raise LeakError(tally.leaks[0]["message"] + others)


def _raise_on_nothing(tally: Tally) -> None:
    if tally.num_rows:
        return
    reasons = (
        ", ".join(f"{count} {reason}" for reason, count in tally.left_out.most_common())
        or "there are no episodes"
    )
    raise DatasetError(
        f"arm {tally.arm!r} has no success to train on: of {tally.num_episodes} episodes {reasons}; "
        "give the model more tasks or easier ones, more steps, or another model, or leave the arm out"
    )
