"""Failures in, hints out: by the diagnostician's rules or by a model behind an OpenAI-compatible endpoint. Resumable; loses nothing it paid for."""

import asyncio
import json
import logging
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from actors.chat import Generate, GenerateError, Message, Sampling
from actors.trajectory import EndReason, Trajectory
from distill.hints.call_cache import CallCache, call_key
from distill.hints.config import DiagnosticianConfig, OpenAIWriterConfig, WriterConfig
from distill.hints.diagnostician import diagnose_all
from distill.hints.endpoint import hint_endpoint
from distill.hints.hint import HINT_SCHEMA, Hint, to_row, written_hint
from distill.hints.lint import MAX_CHARS
from distill.hints.reply import Reading, read_reply

log = logging.getLogger(__name__)

PROMPTS = Path(__file__).parent / "prompts"
WRITTEN = "written.parquet"
CALLS = "calls.jsonl"
SUMMARY = "writer.json"

_ENDS = {
    EndReason.DONE: "the world ended it",
    EndReason.STEP_LIMIT: "the number of steps was used up",
    EndReason.TOKEN_LIMIT: "it became too long",
    EndReason.REPETITION: "it repeated itself",
}


class WriterError(RuntimeError):
    """No hints could be written, or not all; the message says what is kept and what to do."""


class BudgetReachedError(WriterError):
    """`max_cost_usd` does not reach for the next call; what was bought is kept, and a start with more money goes on."""


class HintWriter(Protocol):
    async def __call__(self, failure: Trajectory) -> list[Hint]: ...


@dataclass(slots=True, kw_only=True)
class WriterSummary:
    """What writing took; `writer.json`."""

    writer: str
    num_failures: int = 0
    num_hints: int = 0
    num_without_hints: int = 0
    """Failures that gave no hint."""
    num_malformed: int = 0
    """Replies from which nothing could be read, re-asks included."""
    num_calls: int = 0
    num_cached_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    rejected: list[dict[str, str]] = field(default_factory=list)
    """Hints that lint refused, with the reason."""
    errors: list[dict[str, str]] = field(default_factory=list)
    """Failures whose call failed, with the reason."""
    stopped: str | None = None
    """Why not every failure was asked about."""
    budget_reached: bool = False
    """Whether that is `max_cost_usd`."""
    num_unpaid: int = 0
    """Failures that the money did not reach for."""


def write_hints(
    failures: Sequence[Trajectory],
    config: WriterConfig,
    out_dir: Path,
    generate: Generate | None = None,
    *,
    paid_before: Sequence[Path] = (),
) -> list[Hint]:
    """Every hint from every failure, in the order of the failures' ids; unfolded.

    Writes `written.parquet`, `writer.json` and, for a model, `calls.jsonl`, from which a second start goes on. `generate` takes the place
    of the configured endpoint; replies in the files `paid_before` (other folders' `calls.jsonl`) are not bought again. Raises `WriterError`
    where an endpoint fails or, unless `on_budget = "go_on"`, the money ends; what was answered until then is kept.
    """
    _require_failures(failures)
    out_dir.mkdir(parents=True, exist_ok=True)
    ordered = sorted({failure.id: failure for failure in failures}.values(), key=lambda failure: failure.id)
    log.info("hints: %d failures, writer %s", len(ordered), config.kind)
    if isinstance(config, DiagnosticianConfig):
        hints = diagnose_all(ordered, config)
        summary = WriterSummary(writer=config.kind, num_failures=len(ordered))
    else:
        writer = ModelWriter(
            config, CallCache(out_dir / CALLS, paid_before), generate or hint_endpoint(config)
        )
        hints = asyncio.run(_write_all(ordered, writer))
        summary = writer.summary
        summary.num_failures = len(ordered)
    summary.num_hints = len(hints)
    summary.num_without_hints = len(ordered) - len({source for hint in hints for source in hint.sources})
    (out_dir / SUMMARY).write_text(json.dumps(asdict(summary), indent=1, ensure_ascii=False) + "\n")
    if isinstance(config, OpenAIWriterConfig):
        _raise_on_errors(summary, out_dir, config.on_budget)
    pq.write_table(
        pa.Table.from_pylist([to_row(hint) for hint in hints], schema=HINT_SCHEMA), out_dir / WRITTEN
    )
    log.info("hints: %d written, %d failures without one", summary.num_hints, summary.num_without_hints)
    return hints


class ModelWriter:
    """Asks a model about one failure at a time and counts what it costs."""

    def __init__(self, config: OpenAIWriterConfig, cache: CallCache, generate: Generate):
        self.config = config
        self.summary = WriterSummary(writer=config.model)
        self._generate = generate
        self._cache = cache
        self._slots = asyncio.Semaphore(config.concurrency)
        self._reserved_usd = 0.0
        self._system = _prompt(f"{config.prompt}.system").template.strip()
        self._user = _prompt(config.prompt)
        self._repair = _prompt("repair")

    @property
    def is_stopped(self) -> bool:
        return self.summary.stopped is not None

    async def __call__(self, failure: Trajectory) -> list[Hint]:
        """The hints from one failure; [] where the reply gave none or writing has stopped."""
        async with self._slots:
            if self.is_stopped and not self.summary.budget_reached:
                return []  # Without money, replies that were bought before are still read.
            try:
                reading = await self._ask(failure)
            except GenerateError as error:
                self._note_error(failure, error)
                return []
        self.summary.rejected += [{"text": text, "why": why} for text, why in reading.rejected]
        return [written_hint(text, failure, self.config.model) for text in reading.texts]

    async def _ask(self, failure: Trajectory) -> Reading:
        messages = self._messages(failure)
        reading = Reading()
        for _ in range(1 + self.config.reasks):
            reply = await self._call(messages, failure.id)
            if reply is None:
                return reading
            reading = read_reply(reply, self.config.max_hints)
            if reading.problem is None:
                return reading
            self.summary.num_malformed += 1
            request = self._repair.substitute(problem=reading.problem)
            messages = (
                *messages,
                Message(role="assistant", content=reply),
                Message(role="user", content=request),
            )
        return reading

    async def _call(self, messages: tuple[Message, ...], session: str) -> str | None:
        """A reply from the cache or the model; None where the money does not reach."""
        config = self.config
        key = call_key(messages, config.model, config.temperature, config.max_tokens, config.json_schema)
        if cached := self._cache.get(key):
            self.summary.num_cached_calls += 1
            self._count(cached.prompt_tokens, cached.completion_tokens, cached.usd)
            return cached.text
        if self.summary.budget_reached:
            self.summary.num_unpaid += 1
            return None
        # Reserved before the call, so that calls in flight together cannot pass the limit together. A token has rarely fewer than 2 characters.
        worst = self._usd(sum(len(m.content) for m in messages) // 2, config.max_tokens)
        if (
            config.max_cost_usd is not None
            and self._cache.usd + self._reserved_usd + worst > config.max_cost_usd
        ):
            if not self.is_stopped:
                self.summary.budget_reached = True
                self.summary.stopped = (
                    f"max_cost_usd={config.max_cost_usd:g} could be passed by the next call"
                )
            self.summary.num_unpaid += 1
            return None
        self._reserved_usd += worst
        try:
            completion = await self._generate(
                messages,
                Sampling(temperature=config.temperature, max_tokens=config.max_tokens),
                session=session,
            )
        finally:
            self._reserved_usd -= worst
        call = self._cache.add(
            key, completion, self._usd(completion.prompt_tokens, completion.completion_tokens)
        )
        self.summary.num_calls += 1
        self._count(call.prompt_tokens, call.completion_tokens, call.usd)
        return call.text

    def _count(self, prompt_tokens: int, completion_tokens: int, usd: float) -> None:
        self.summary.prompt_tokens += prompt_tokens
        self.summary.completion_tokens += completion_tokens
        self.summary.usd += usd

    def _usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        config = self.config
        return (
            prompt_tokens * config.usd_per_million_prompt_tokens
            + completion_tokens * config.usd_per_million_completion_tokens
        ) / 1e6

    def _note_error(self, failure: Trajectory, error: GenerateError) -> None:
        self.summary.errors.append({"trajectory": failure.id, "error": str(error)})
        # The client has tried and waited already. A refusal before any answer (a wrong key) would be repeated for every failure.
        answered = self.summary.num_calls + self.summary.num_cached_calls
        if error.retryable or not answered:
            self.summary.stopped = self.summary.stopped or str(error)

    def _messages(self, failure: Trajectory) -> tuple[Message, ...]:
        user = self._user.substitute(
            kind=failure.task.kind,
            goal=failure.task.goal,
            trace=trace_text(failure, self.config.max_trace_chars),
            end=_ENDS.get(failure.end, str(failure.end)),
            max_hints=self.config.max_hints,
            max_chars=MAX_CHARS,
        )
        return (Message(role="system", content=self._system), Message(role="user", content=user))


def trace_text(failure: Trajectory, max_chars: int) -> str:
    """The episode for a reader; a long one loses its middle, since the mistake shows at the start and the end."""
    lines = [failure.opening]
    for turn in failure.turns:
        lines += [f"> {turn.reply}", turn.observation]
    text = "\n".join(lines)
    if len(text) <= max_chars:
        return text
    head = text[: max_chars * 2 // 5].rsplit("\n", 1)[0]
    tail = text[-(max_chars * 3 // 5) :].split("\n", 1)[-1]
    return f"{head}\n[... {len(text) - len(head) - len(tail)} characters left out ...]\n{tail}"


async def _write_all(failures: Sequence[Trajectory], writer: HintWriter) -> list[Hint]:
    written = await asyncio.gather(*(writer(failure) for failure in failures))
    return [hint for hints in written for hint in hints]


def _require_failures(failures: Sequence[Trajectory]) -> None:
    for trajectory in failures:
        if trajectory.success or trajectory.end is EndReason.ERROR:
            what = (
                "succeeded"
                if trajectory.success
                else f"ended in an error of the machinery ({trajectory.error})"
            )
            raise ValueError(
                f"episode {trajectory.id} of {trajectory.task.key} {what}; hints are written from failures of the agent only, pass those"
            )


def _raise_on_errors(summary: WriterSummary, out_dir: Path, on_budget: str) -> None:
    kept = f"{summary.num_calls + summary.num_cached_calls} replies are kept in {out_dir / CALLS}"
    if summary.budget_reached and on_budget == "stop":
        raise BudgetReachedError(
            f"{summary.writer}: {summary.stopped}: {summary.usd:.4f} USD are spent and {summary.num_unpaid} of {summary.num_failures} "
            f"failures are still to be asked about; {kept}; raise writer.max_cost_usd and start again to go on from there, "
            'or set writer.on_budget = "go_on" to use the hints written so far'
        )
    if summary.budget_reached:
        log.warning("hints: going on with what is written: %s", summary.stopped)
    if not summary.errors:
        return
    first = summary.errors[0]["error"]
    stopped_by_errors = summary.stopped is not None and not summary.budget_reached
    if stopped_by_errors or len(summary.errors) == summary.num_failures:
        raise WriterError(f"{summary.writer}: {first}; {kept}, start again to go on from there")
    log.warning(
        "hints: %d of %d failures could not be asked about, first: %s",
        len(summary.errors),
        summary.num_failures,
        first,
    )


def _prompt(name: str) -> string.Template:
    path = PROMPTS / f"{name}.txt"
    if not path.is_file():
        known = ", ".join(
            sorted(p.stem for p in PROMPTS.glob("*.txt") if "." not in p.stem and p.stem != "repair")
        )
        raise ValueError(
            f"no hint prompt is called {name!r}; known: {known}; add {path.name} and its .system.txt beside them"
        )
    return string.Template(path.read_text(encoding="utf-8"))
