"""A recorded episode played on from one of its turns with something changed: other hints, another model, another seed.

The recorded turns before it are replayed in the world, so that everything up to the change is as it was. The new episode is a trajectory like
any other, in a folder of its own under the run's `replays`, with its lineage beside it.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.agents import make_agent
from actors.config import AgentConfig, EngineConfig, ModelConfig
from actors.episode import EpisodeSpec, episode_id
from actors.hint_timing import HintTiming
from actors.job import RolloutSettings
from actors.store import read_finished
from actors.trajectory import EndReason, GivenHint, Trajectory
from distill.atomic import write_atomically
from distill.config import StudyConfig
from distill.hints.bank import Bank
from distill.hints.config import RetrieverConfig
from distill.run_folder import Rollout, RunError, RunFolder

REPLAYS = "replays"
LINEAGE = "lineage.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is otherwise from a turn on; None leaves things as they were."""

    from_turn: int
    hints: tuple[str, ...] | None = None
    """Texts instead of the recorded hints; () for none."""
    k: int | None = None
    """So many hints, chosen anew from the run's bank by the arm's retriever, or the study's where the arm has none."""
    model: str | None = None
    """Plays as it is, without an adapter."""
    seed: int | None = None

    @property
    def in_words(self) -> str:
        parts = [f"the model {self.model}"] if self.model else []
        parts += ["no hints"] if self.hints == () else []
        parts += [f"the hint {text!r}" for text in self.hints or ()]
        parts += [f"{self.k} hints from the bank"] if self.k is not None else []
        parts += [f"seed {self.seed}"] if self.seed is not None else []
        return ", ".join(parts) or "nothing"


def play_on(
    run: RunFolder, rollout: Rollout, parent: Trajectory, change: Change, *, address: str | None = None
) -> tuple[Path, Trajectory]:
    """The new episode and its folder; one that was played before is read back. Starts Ray only for a model that needs engines.

    Raises `RunError` for a change that cannot be made, and for an episode that the machinery lost.
    """
    _check(parent, change)
    config = run.config
    model = config.model.model_copy(update={"model": change.model}) if change.model else config.model
    spec = _spec(run, rollout, parent, change)
    sampling = config.sampling.train if rollout.part == "train" else config.sampling.eval
    agent = _agent(config, parent)
    settings = RolloutSettings(
        env=run.env,
        agent=agent,
        model=model,
        budget=config.budget,
        sampling=sampling,
        rollout=config.rollout.model_copy(update={"num_hosts": 1}),
    )
    folder = run.path / REPLAYS / episode_id(spec, parent.agent, model.model)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / LINEAGE,
        json.dumps(_lineage(rollout, parent, change, spec), indent=1, ensure_ascii=False) + "\n",
    )
    _play(spec, settings, folder, address)
    (played,) = read_finished(folder)
    if played.end is EndReason.ERROR:
        raise RunError(f"the episode could not be played on: {played.error}")
    return folder, played


def _check(parent: Trajectory, change: Change) -> None:
    if not 0 <= change.from_turn < len(parent.turns):
        raise RunError(
            f"episode {parent.id} has turns 0 to {len(parent.turns) - 1}; from turn {change.from_turn} there is nothing to change"
        )
    if change.k is not None and change.k < 1:
        raise RunError(f"k = {change.k} asks for no hints; leave them out with --no-hints")


def _agent(config: StudyConfig, parent: Trajectory) -> AgentConfig:
    """The study's own, or the one whose failures its hints were taken from."""
    known = {
        make_agent(agent, config.env.name).name: agent for agent in (config.agent, config.hints_from) if agent
    }
    if parent.agent not in known:
        raise RunError(
            f"episode {parent.id} was played by {parent.agent}, whose prompts this version no longer has (it has "
            f"{', '.join(known)}); it can be replayed as it was, not played on"
        )
    return known[parent.agent]


def _spec(run: RunFolder, rollout: Rollout, parent: Trajectory, change: Change) -> EpisodeSpec:
    hints, timing = _hints(run, rollout, parent, change)
    adapter, adapter_name = _adapter(run, rollout, parent) if change.model is None else (None, None)
    return EpisodeSpec(
        task=parent.task,
        role="student" if adapter else "teacher" if hints else "base",
        arm=f"replay-{parent.id}-t{change.from_turn}",
        seed=parent.seed if change.seed is None else change.seed,
        hints=hints,
        timing=timing,
        prefix=parent.turns[: change.from_turn],
        adapter=adapter,
        adapter_name=adapter_name,
    )


def _hints(
    run: RunFolder, rollout: Rollout, parent: Trajectory, change: Change
) -> tuple[tuple[GivenHint, ...], HintTiming | None]:
    """Changed hints stand in the prompt from the changed turn on, as the record says of them; others as they stood."""
    from distill.runners import hint_timing

    retriever = _retriever(run, rollout)
    if change.hints is None and change.k is None:
        return parent.hints, hint_timing(retriever) if retriever else None
    if change.hints is not None:
        hints = tuple(_written(text) for text in dict.fromkeys(change.hints))
    else:
        assert change.k is not None
        hints = _retrieved(run, retriever or run.config.retriever, parent, change.k)
    if not hints or change.from_turn == 0:
        return hints, None
    return hints, HintTiming(when="at", turns=change.from_turn, k=len(hints))


def _written(text: str) -> GivenHint:
    if not text.strip():
        raise RunError("--hint is empty; leave hints out with --no-hints")
    return GivenHint(id=hashlib.sha256(text.encode()).hexdigest()[:16], text=text)


def _retriever(run: RunFolder, rollout: Rollout) -> RetrieverConfig | None:
    chosen = run.manifest(rollout.stage)["config"]["retriever"]
    return RetrieverConfig.model_validate(chosen) if chosen else None


def _retrieved(run: RunFolder, config: RetrieverConfig, parent: Trajectory, k: int) -> tuple[GivenHint, ...]:
    from distill.hints.retrievers import make_retriever

    bank = Bank.load(run.folder("hints") / "bank.parquet")
    bank.require_hints()
    return make_retriever(config.model_copy(update={"k": k}), bank)(parent.task, parent.opening)


def _adapter(run: RunFolder, rollout: Rollout, parent: Trajectory) -> tuple[str | None, str | None]:
    """The adapter's folder and what the records call it."""
    if parent.adapter is None:
        return None, None
    fit = run.manifest(rollout.stage)["inputs"]["adapter"]
    folder = run.folder("tasks").parent / fit / "adapter"
    if not folder.is_dir():
        raise RunError(
            f"the adapter of episode {parent.id} is gone: {folder} is missing; run the study again"
        )
    return str(folder), parent.adapter


def _play(spec: EpisodeSpec, settings: RolloutSettings, folder: Path, address: str | None) -> None:
    from actors.rollout import rollout, rollout_local

    with _cluster(settings.model, address) as has_engines:
        (rollout if has_engines else rollout_local)([spec], settings, folder)


@contextmanager
def _cluster(model: ModelConfig, address: str | None) -> Iterator[bool]:
    """Ray where the model needs engines; whether it does."""
    if not isinstance(model, EngineConfig):
        yield False
        return
    from distill.cluster import ray_cluster

    # One host, the writer and one to spare beside the engines.
    with ray_cluster(model.replicas + 3, address):
        yield True


def _lineage(rollout: Rollout, parent: Trajectory, change: Change, spec: EpisodeSpec) -> dict[str, Any]:
    return {
        "parent": parent.id,
        "stage": rollout.stage,
        "task": parent.task.key,
        "change": asdict(change),
        "in_words": change.in_words,
        "seed": spec.seed,
        "hints": [{"id": hint.id, "text": hint.text} for hint in spec.hints],
    }
