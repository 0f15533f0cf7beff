"""Failures in, hints out: by the diagnostician's rules or by a model. Resumable; loses nothing it paid for."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from actors.chat import Generate, GenerateError
from actors.retry import Breaker
from actors.trajectory import EndReason, Trajectory
from distill.episode_files import EpisodesOnDisk
from distill.hints.call_cache import CallCache
from distill.hints.config import DiagnosticianConfig, ModelWriterConfig, OpenAIWriterConfig, WriterConfig
from distill.hints.conversation import Answer, Conversation, Question
from distill.hints.diagnostician import diagnose_all
from distill.hints.endpoint import books_of, open_shop
from distill.hints.hint import HINT_SCHEMA, Hint, to_row, written_hint
from distill.hints.summary import BudgetReachedError, WriterError, WriterSummary, raise_on_errors
from distill.hints.till import NoMoneyError, Shop

__all__ = ["BudgetReachedError", "HintWriter", "ModelWriter", "WriterError", "write_hints"]

log = logging.getLogger(__name__)

WRITTEN = "written.parquet"
CALLS = "calls.jsonl"
SUMMARY = "writer.json"

ERRORS_IN_A_ROW = 3
"""Calls that failed one after the other, tries and all, before the model counts as down."""


class HintWriter(Protocol):
    async def __call__(self, failure: Trajectory) -> list[Hint]: ...


def write_hints(
    failures: Iterable[Trajectory],
    config: WriterConfig,
    out_dir: Path,
    generate: Generate | None = None,
    *,
    model: str | None = None,
    paid_before: Sequence[Path] = (),
) -> list[Hint]:
    """Every hint from every failure, in the order of the failures' ids; unfolded. Failures are drawn once, and one is in memory for each call.

    Writes `written.parquet`, `writer.json` and, for a model, `calls.jsonl` and what else a second start goes on from. `generate` takes the
    place of the configured endpoint and asks once a call; a writer of kind "fleet" needs it, and `model`, its name. Replies in the files
    `paid_before` (other folders' `calls.jsonl`) are not bought again. Raises `WriterError` where failures are still to be asked about,
    because the model fails or, unless `on_budget = "go_on"`, the money ends; what was answered until then is kept.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    ordered = EpisodesOnDisk(map(_required_failure, failures), out_dir)
    log.info("hints: %d failures, writer %s", len(ordered), config.kind)
    if isinstance(config, DiagnosticianConfig):
        hints, summary = diagnose_all(ordered, config), WriterSummary(writer=config.kind)
    else:
        cache = CallCache(out_dir / CALLS, paid_before)
        hints, summary = asyncio.run(_ask_about_all(ordered, config, cache, out_dir, generate, model))
    summary.num_failures = len(ordered)
    summary.num_hints = len(hints)
    summary.num_without_hints = len(ordered) - len({source for hint in hints for source in hint.sources})
    summary.save(out_dir / SUMMARY)
    raise_on_errors(summary, out_dir / CALLS, getattr(config, "on_budget", "stop"))
    pq.write_table(
        pa.Table.from_pylist([to_row(hint) for hint in hints], schema=HINT_SCHEMA), out_dir / WRITTEN
    )
    log.info("hints: %d written, %d failures without one", summary.num_hints, summary.num_without_hints)
    return hints


async def _ask_about_all(
    failures: Collection[Trajectory],
    config: ModelWriterConfig,
    cache: CallCache,
    out_dir: Path,
    generate: Generate | None,
    model: str | None,
) -> tuple[list[Hint], WriterSummary]:
    if isinstance(config, OpenAIWriterConfig):
        model = config.model
    elif generate is None or model is None:
        raise ValueError(
            'a writer of kind "fleet" needs the engines as `generate` and their model\'s name as `model`'
        )
    talk, kept_before = Conversation(config, model), {call.key: call for call in cache.calls}
    books = books_of(config, cache, out_dir)
    shop = await open_shop(failures, talk, books, out_dir, generate)
    writer = ModelWriter(talk, cache, shop)
    waiting, written = iter(failures), dict[str, list[Hint]]()

    async def work() -> None:
        for failure in waiting:
            written[failure.id] = await writer(failure)

    await asyncio.gather(*(work() for _ in range(config.concurrency)))
    writer.summary.count(writer.answers, kept_before, books.spending)
    return [hint for id_ in sorted(written) for hint in written[id_]], writer.summary


class ModelWriter:
    """Asks a model about one failure at a time, and stops asking where it is no use."""

    def __init__(self, talk: Conversation, cache: CallCache, shop: Shop):
        self.summary = WriterSummary(writer=talk.model)
        self.answers: list[Answer] = []
        self._talk, self._cache, self._shop = talk, cache, shop
        self._slots = asyncio.Semaphore(talk.config.concurrency)
        self._breaker = Breaker(ERRORS_IN_A_ROW)
        self._is_down = False

    async def __call__(self, failure: Trajectory) -> list[Hint]:
        """The hints from one failure; [] where the reply gave none or writing has stopped."""
        async with self._slots:
            answer = await self._answer(failure)
        if answer is None:
            return []
        self.answers.append(answer)
        reading = answer.reading
        self.summary.rejected += [{"text": text, "why": why} for text, why in reading.rejected]
        return [
            written_hint(
                text,
                failure,
                self._talk.model,
                prompt_sha256=answer.prompt_sha256,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                usd=answer.usd,
                uses_oracle=any(call.uses_oracle for call in answer.calls),
            )
            for text in reading.texts
        ]

    async def _answer(self, failure: Trajectory) -> Answer | None:
        """None where there is none to be had. Replies that are there are read to the end, also without money or a server."""
        while isinstance(step := self._talk.after(failure, self._cache.get), Question):
            if self._is_down:
                self._note(failure, self.summary.stopped or "", again=True)
                return None
            if self.summary.budget_reached:
                self.summary.num_unpaid += 1
                return None
            try:
                await self._shop.buy(step)
            except NoMoneyError as error:
                self.summary.budget_reached = True
                self.summary.stopped = self.summary.stopped or error.message
                self.summary.num_unpaid += 1
                return None
            except GenerateError as error:
                self._note(failure, error.message, again=error.retryable)
                self._mind(error)
                return None
            self._breaker.record(error=False)
        return step

    def _note(self, failure: Trajectory, why: str, *, again: bool) -> None:
        self.summary.errors.append({"trajectory": failure.id, "error": why})
        self.summary.num_to_ask_again += again

    def _mind(self, error: GenerateError) -> None:
        # Each call has tried and waited already. A refusal before any answer (a wrong key) would be repeated for every failure.
        refused = not error.retryable and not self._cache.calls
        if refused or (error.retryable and self._breaker.record(error=True)):
            self._is_down = True
            self.summary.stopped = self.summary.stopped or error.message


def _required_failure(trajectory: Trajectory) -> Trajectory:
    if trajectory.success or trajectory.end is EndReason.ERROR:
        what = (
            "succeeded" if trajectory.success else f"ended in an error of the machinery ({trajectory.error})"
        )
        raise ValueError(
            f"episode {trajectory.id} of {trajectory.task.key} {what}; hints are written from failures of the agent only, pass those"
        )
    return trajectory
