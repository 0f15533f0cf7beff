"""Buying replies through OpenAI's batch mode: everything that is owed as one job, and what failed or was no use in the next.

Each batch has a state file, written before every step that the server could remember and we could forget. A batch is started on a file
that was uploaded for it alone, and is looked for by that file before it is started: killed at any point, a second start finds the same
batch and pays for nothing again.
"""

import asyncio
import json
import logging
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from actors.chat import GenerateError, Message, Sampling
from actors.config import EndpointConfig
from actors.openai_batch import MAX_BYTES, MAX_REQUESTS, BatchState, LineResult, OpenAIBatches, request_lines
from actors.openai_chat import request_body
from actors.patience import Patience
from actors.trajectory import Trajectory
from distill.atomic import write_atomically
from distill.hints.config import OpenAIWriterConfig
from distill.hints.conversation import Conversation, Question
from distill.hints.endpoint import response_format
from distill.hints.spending import Leave
from distill.hints.till import Books, NoMoneyError

log = logging.getLogger(__name__)

BATCHES = "batches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One job; `batches/000.json`."""

    name: str
    """Unique in the world; names its requests in the ledger."""
    questions: tuple[Question, ...]
    file_id: str | None = None
    batch_id: str | None = None
    is_done: bool = False
    errors: tuple[tuple[str, str, bool], ...] = ()
    """(key, why, whether it is worth another try) of the questions that it left open."""

    def request(self, question: Question) -> str:
        return f"{self.name}:{question.key}"


class BoughtOut:
    """A `Shop` that has closed: what it has no reply to, it says why."""

    def __init__(self, errors: Mapping[str, GenerateError], otherwise: GenerateError | None = None) -> None:
        self._errors = errors
        self._otherwise = otherwise or GenerateError("no batch brought a reply to it", retryable=True)

    async def buy(self, question: Question) -> None:
        raise self._errors.get(question.key, self._otherwise)


async def buy_in_batches(
    failures: Collection[Trajectory], talk: Conversation, books: Books, patience: Patience, out_dir: Path
) -> BoughtOut:
    """Goes on until no question is open that another batch could answer."""
    assert isinstance(talk.config, OpenAIWriterConfig)
    job = _Job(talk.config, talk, books, patience, out_dir / BATCHES)
    errors: dict[str, GenerateError] = {}
    tries: Counter[str] = Counter()
    try:
        for batch in job.unfinished():
            await job.finish(batch)
        while owed := _open_questions(failures, talk, books, errors):
            chosen = job.affordable(owed)
            if not chosen:
                return BoughtOut(errors, NoMoneyError(books.spending.limit_usd or 0.0))
            tries.update(question.key for question in chosen)
            batch = await job.finish(job.begin(chosen))
            for key, why, retryable in batch.errors:
                if not retryable or tries[key] >= talk.config.max_attempts:
                    errors[key] = GenerateError(f"{patience.place}: {why}", retryable=retryable)
    except GenerateError as error:
        return BoughtOut(errors, error)
    return BoughtOut(errors)


def _open_questions(
    failures: Collection[Trajectory], talk: Conversation, books: Books, given_up: Mapping[str, object]
) -> list[Question]:
    """Each once, in the order of the failures."""
    questions: dict[str, Question] = {}
    for failure in failures:
        step = talk.after(failure, books.cache.get)
        if isinstance(step, Question) and step.key not in given_up:
            questions.setdefault(step.key, step)
    return list(questions.values())


class _Job:
    """Takes one batch after the other through its steps."""

    def __init__(
        self, config: OpenAIWriterConfig, talk: Conversation, books: Books, patience: Patience, folder: Path
    ) -> None:
        self._config, self._talk, self._books, self._patience = config, talk, books, patience
        self._folder = folder
        self._server = OpenAIBatches(
            EndpointConfig(model=config.model, base_url=config.base_url, api_key_env=config.api_key_env)
        )
        self._sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)

    def unfinished(self) -> list[Batch]:
        """Those that the server may know of. Of one that was never uploaded nothing was sent, and its questions may be outdated."""
        left = [batch for batch in map(_read, sorted(self._folder.glob("*.json"))) if not batch.is_done]
        for batch in left:
            if batch.file_id is None:
                for request in map(batch.request, batch.questions):
                    self._books.spending.release(self._books.spending.reserve(0, request))
                self._save(replace(batch, is_done=True))
        return [batch for batch in left if batch.file_id is not None]

    def affordable(self, owed: Sequence[Question]) -> list[Question]:
        """As many questions as one batch holds and the budget reaches for if each costs its worst."""
        chosen, num_bytes, worst = [], 0, 0
        for question in owed[:MAX_REQUESTS]:
            worst += self._books.worst(question.messages, self._config.max_tokens)
            num_bytes += len(self._lines([question]))
            if num_bytes > MAX_BYTES or self._books.spending.may_leave(worst) is not Leave.NOW:
                break
            chosen.append(question)
        return chosen

    def begin(self, questions: Sequence[Question]) -> Batch:
        batch = Batch(name=uuid.uuid4().hex, questions=tuple(questions))
        self._save(batch)
        return batch

    async def finish(self, batch: Batch) -> Batch:
        """Whatever step it stands at."""
        for question in batch.questions:
            if self._books.cache.get(question.key) is None:
                worst = self._books.worst(question.messages, self._config.max_tokens)
                self._books.spending.send(self._books.spending.reserve(worst, batch.request(question)))
        if batch.file_id is None:
            lines = self._lines(batch.questions)
            batch = replace(batch, file_id=await self._patience(lambda: self._server.upload(lines)))
            self._save(batch)
        if batch.batch_id is None:
            file_id = batch.file_id or ""
            state = await self._patience(lambda: self._server.start(file_id))
            batch = replace(batch, batch_id=state.id)
            self._save(batch)
        state = await self._wait(batch.batch_id or "", len(batch.questions))
        batch = replace(
            batch, is_done=True, errors=tuple(self._settle(batch, state, await self._results(state)))
        )
        self._save(batch)
        return batch

    async def _wait(self, batch_id: str, num_questions: int) -> BatchState:
        log.info("hints: batch %s of %d questions", batch_id, num_questions)
        while True:
            state = await self._patience(lambda: self._server.look(batch_id))
            if state.is_over:
                log.info("hints: batch %s is %s", batch_id, state.status)
                return state
            await asyncio.sleep(self._config.poll_s)

    async def _results(self, state: BatchState) -> dict[str, LineResult]:
        results: dict[str, LineResult] = {}
        for file_id in (state.error_file_id, state.output_file_id):
            if file_id:
                for result in await self._patience(partial(self._server.results, file_id)):
                    results[result.custom_id] = result
        return results

    def _settle(
        self, batch: Batch, state: BatchState, results: dict[str, LineResult]
    ) -> list[tuple[str, str, bool]]:
        errors = []
        for question in batch.questions:
            request = batch.request(question)
            result = results.get(question.key) or _missing(question.key, state)
            if self._books.cache.get(question.key) is not None:
                continue  # A start that was killed got as far as this one.
            if result.completion is not None:
                self._books.keep(question, result.completion, request, self._talk)
                continue
            spending = self._books.spending
            (spending.hold if result.may_cost else spending.release)(request)
            errors.append((question.key, result.error or "", result.retryable))
        return errors

    def _lines(self, questions: Sequence[Question]) -> bytes:
        form = response_format(self._config)
        return request_lines(
            {q.key: request_body(self._config.model, q.messages, self._sampling, form) for q in questions}
        )

    def _save(self, batch: Batch) -> None:
        path = self._path_of(batch)
        write_atomically(path, json.dumps(asdict(batch), ensure_ascii=False) + "\n")

    def _path_of(self, batch: Batch) -> Path:
        there = {_read(path).name: path for path in self._folder.glob("*.json")}
        return there.get(batch.name) or self._folder / f"{len(there):03d}.json"


def _missing(key: str, state: BatchState) -> LineResult:
    """A batch that was refused as a whole ran nothing; of another one's lines that are nowhere nobody knows."""
    if state.status == "failed":
        codes = ", ".join(state.error_codes) or "no reason given"
        return LineResult(custom_id=key, error=f"it refuses the batch ({codes})")
    return LineResult(custom_id=key, error="the batch has no line for it", may_cost=True, retryable=True)


def _read(path: Path) -> Batch:
    record = json.loads(path.read_text(encoding="utf-8"))
    questions = tuple(
        Question(**(question | {"messages": tuple(Message(**m) for m in question["messages"])}))
        for question in record["questions"]
    )
    errors = tuple((key, why, retryable) for key, why, retryable in record["errors"])
    return Batch(**(record | {"questions": questions, "errors": errors}))
