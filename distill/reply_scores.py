"""The teacher's replies on the held-out panel, scored by base, teacher and students, as a stage of its own.

The rows are rendered, stripped and masked by the code that makes training rows. Every finished player is a file, so a second start goes on.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from actors.agents import make_agent
from actors.agents.base import Agent
from actors.config import EngineConfig
from actors.models import resolve_model
from actors.trajectory import Trajectory
from distill.atomic import replacing
from distill.fingerprint import model_fingerprint
from distill.internalisation import BASE, TEACHER
from distill.run_folder import Rollout, RunError, RunFolder
from distill.stages import Stage, StageStore, run_stages
from distill.strip import strip, why_left_out

if TYPE_CHECKING:
    from train.score import Scorer

log = logging.getLogger(__name__)

VERSION = 1

SCORES_SCHEMA = pa.schema(
    [
        ("player", pa.string()),  # "base", "teacher" (base with the hints) or a student arm
        ("trajectory_id", pa.string()),  # the teacher's episode
        ("task", pa.string()),
        ("seed", pa.int64()),
        ("log_prob", pa.float64()),  # sum over the tokens of the replies, in nats
        ("num_tokens", pa.int64()),  # of the replies, end-of-turn tokens included
    ],
    metadata={"offbook_record": "reply_scores", "offbook_schema_version": "1"},
)

Tokens = tuple[list[int], list[int]]
"""`(input_ids, labels)`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Episode:
    trajectory: Trajectory
    bare: list[Tokens]
    """One row, or one for every reply where the agent's prompts are no turns of a chat."""
    hinted: list[Tokens]


def score_replies(run: RunFolder, teacher: str, students: Sequence[str], *, device: str = "auto") -> pa.Table:
    """A table of `SCORES_SCHEMA`, from the store where it was made before. Students are scored under the seed of the episode.

    Raises `RunError` where the model has no weights here, or the episodes were played by another agent than this version has.
    """
    config = run.config
    if not isinstance(config.model, EngineConfig):
        raise RunError(
            f"{config.model.model!r} has no weights here to ask for log-probabilities; leave this meter out with --no-scores"
        )
    agent = make_agent(config.agent, config.env.name)
    evaluations = {rollout.seed: rollout for rollout in run.evaluations(teacher)}
    adapters = {
        (student, seed): run.folder(f"fit-{student}-s{seed}") for student in students for seed in evaluations
    }
    stage = Stage(
        name="reply-scores",
        kind="scores",
        version=VERSION,
        # Folders of finished stages are named after their content's key, so that their names are what decides.
        config={
            "agent": agent.name,
            "model": model_fingerprint(config.model),
            "dtype": config.train.dtype,
            "teacher": {str(seed): rollout.folder.name for seed, rollout in evaluations.items()},
            "adapters": {f"{student}-s{seed}": folder.name for (student, seed), folder in adapters.items()},
        },
    )
    store = StageStore(run.folder("tasks").parent)

    def work(stage: Stage, folder: Path, store: StageStore) -> dict[str, int]:
        # A finished stage reads no weights.
        open_scorer = cache(lambda: _scorer(run, device))
        for seed, rollout in evaluations.items():
            own = {student: adapters[student, seed] / "adapter" for student in students}
            read = partial(_episodes, run, agent, rollout)
            _score_seed(folder, seed, read, own, open_scorer)
        table = _read(folder)
        return {"episodes": len(set(table["trajectory_id"].to_pylist())), "scores": table.num_rows}

    run_stages([stage], store, {"scores": work})
    return _read(store.folder(stage))


def _score_seed(
    folder: Path,
    seed: int,
    read: Callable[[], list[_Episode]],
    adapters: Mapping[str, Path],
    open_scorer: Callable[[], "Scorer"],
) -> None:
    players: dict[str, Path | None] = {BASE: None, TEACHER: None, **adapters}
    owed = {name: adapter for name, adapter in players.items() if not _file(folder, name, seed).exists()}
    if not owed:
        return
    episodes = read()
    for name, adapter in owed.items():
        log.info("%s: scored on %d episodes of seed %d", name, len(episodes), seed)
        rows = [episode.hinted if name == TEACHER else episode.bare for episode in episodes]
        flat = [row for own in rows for row in own]
        scored = iter(open_scorer().score(flat, adapter) if flat else [])
        by_episode = [[next(scored) for _ in own] for own in rows]
        records = [
            {
                "player": name,
                "trajectory_id": episode.trajectory.id,
                "task": episode.trajectory.task.key,
                "seed": seed,
                "log_prob": sum(row.log_prob for row in own),
                "num_tokens": sum(row.num_tokens for row in own),
            }
            for episode, own in zip(episodes, by_episode, strict=True)
        ]
        with replacing(_file(folder, name, seed)) as draft:
            pq.write_table(pa.Table.from_pylist(records, schema=SCORES_SCHEMA), draft)


def _episodes(run: RunFolder, agent: Agent, rollout: Rollout) -> list[_Episode]:
    """The wins, as the training rows that they would become, and the same with the hints that were shown."""
    from actors.tokenizer import load_tokenizer
    from train.errors import MaskError
    from train.tokenize import to_tokens_row

    tokenizer = load_tokenizer(str(resolve_model(run.config.model.model)))

    def tokens(trajectory: Trajectory, keep_hints: bool) -> list[Tokens]:
        rows = (to_tokens_row(row, tokenizer) for row in strip(trajectory, agent, keep_hints=keep_hints))
        return [(row["input_ids"], row["labels"]) for row in rows]

    found = []
    for t in rollout.trajectories():
        if t.agent != agent.name:
            raise RunError(
                f"episode {t.id} was played by {t.agent}, whose prompts this version no longer has (it has {agent.name}); "
                "play the study again, or leave this meter out with --no-scores"
            )
        if why_left_out(t) is not None:
            continue
        try:
            found.append(_Episode(trajectory=t, bare=tokens(t, False), hinted=tokens(t, True)))
        except MaskError as error:
            log.warning("episode %s would make no training row and is not scored: %s", t.id, error)
    return found


def _scorer(run: RunFolder, device: str) -> "Scorer":
    import torch

    from train.score import Scorer

    chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return Scorer(str(resolve_model(run.config.model.model)), dtype=run.config.train.dtype, device=chosen)


def _file(folder: Path, player: str, seed: int) -> Path:
    return folder / f"{player}-s{seed}.parquet"


def _read(folder: Path) -> pa.Table:
    files = sorted(folder.glob("*.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files]) if files else SCORES_SCHEMA.empty_table()
