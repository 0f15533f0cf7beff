"""A model chooses the hints: it reads all of a kind's hints, in several rounds where they do not fit one question.

Knows neither engines nor endpoints: a `Generate` answers, and what it answered is kept, so that a second start asks nothing again.
"""

import asyncio
import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from actors.chat import Generate, Message, PromptTooLongError, Sampling
from actors.patience import Patience, PatientModel
from actors.retry import Backoff
from actors.trajectory import GivenHint
from distill.hints.bank import Bank
from distill.hints.call_cache import Call, CallCache, call_key, prompt_sha256
from distill.hints.config import LlmRankConfig
from distill.hints.hint import Hint
from distill.hints.retrievers.numbers_reply import read_numbers
from distill.hints.retrievers.seams import Ranker, given
from envs.task import Task

_PROMPTS = Path(__file__).parent / "prompts"


class RetrievalError(RuntimeError):
    """Hints cannot be chosen; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class RankingModel:
    """Who is asked, and where its answers are kept."""

    open: Callable[[], Generate]
    """Called before the first question and not at all where every answer is there already."""
    name: str
    """What tells this model from others whose answers lie in the same cache."""
    cache: CallCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What one episode is given, and what choosing it cost, whenever that was paid."""

    hints: tuple[GivenHint, ...]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    num_calls: int = 0
    num_repairs: int = 0
    """Questions asked again because the reply could not be used."""
    num_rounds: int = 0
    """0: nothing had to be asked; 1: all candidates in one question; more: a tournament."""
    fell_back: bool = False


@dataclass(slots=True)
class _Tally:
    calls: list[Call] = field(default_factory=list)
    num_repairs: int = 0
    num_rounds: int = 0


class _UnusableError(Exception):
    """Twice in a row a reply that names too few hints."""


class LlmRetriever:
    """Belongs to the event loop of its first call."""

    def __init__(
        self, bank: Bank, model: RankingModel, config: LlmRankConfig, *, k: int, fallback: Ranker
    ) -> None:
        self._bank, self._model, self._config, self._k, self._fallback = bank, model, config, k, fallback
        self._sampling = Sampling(max_tokens=config.max_tokens)
        self._slots = asyncio.Semaphore(config.concurrency)
        self._asking: dict[str, asyncio.Lock] = {}

    async def __call__(self, task: Task, opening: str) -> Retrieval:
        """Raises `RetrievalError` where the model cannot choose and `on_failure` is "error", `GenerateError` where it does not answer."""
        candidates, tally, fell_back = self._bank.for_kind(task.kind), _Tally(), False
        try:
            hints = given(await self._best(task, opening, candidates, tally))
        except _UnusableError as error:
            if self._config.on_failure == "error":
                raise RetrievalError(
                    f"{self._model.name} could not choose hints for {task.key}: {error}; "
                    'use a model that keeps to JSON, or set retriever.llm.on_failure = "bm25"'
                ) from None
            hints, fell_back = self._fallback(task, opening, candidates, self._k), True
        return Retrieval(
            hints=hints,
            prompt_tokens=sum(call.prompt_tokens for call in tally.calls),
            completion_tokens=sum(call.completion_tokens for call in tally.calls),
            num_calls=len(tally.calls),
            num_repairs=tally.num_repairs,
            num_rounds=tally.num_rounds,
            fell_back=fell_back,
        )

    async def _best(
        self, task: Task, opening: str, candidates: Sequence[Hint], tally: _Tally
    ) -> Sequence[Hint]:
        """At most k. Fewer candidates than that are all given, and nobody is asked."""
        left, limit = list(candidates), self._config.max_candidate_chars
        while len(left) > self._k:
            groups = _groups(left, self._k, limit)
            asked = (self._choose(task, opening, group, tally) for group in groups)
            choices = await asyncio.gather(*asked, return_exceptions=True)
            errors = [choice for choice in choices if isinstance(choice, BaseException)]
            if any(isinstance(error, PromptTooLongError) for error in errors):
                # Characters say little about tokens: what does not fit is asked in smaller parts.
                limit //= 2
                continue
            if errors:
                raise errors[0]
            tally.num_rounds += 1
            winners = [choice for choice in choices if not isinstance(choice, BaseException)]
            if len(groups) == 1:
                return winners[0]
            # In the bank's order: who won in which part must not decide who is read first.
            ids = {hint.id for group in winners for hint in group}
            left = [hint for hint in left if hint.id in ids]
        return left

    async def _choose(
        self, task: Task, opening: str, candidates: Sequence[Hint], tally: _Tally
    ) -> list[Hint]:
        messages = _question(task, opening, candidates, self._k)
        for is_repair in (False, True):
            call = await self._call(task, messages)
            tally.calls.append(call)
            tally.num_repairs += is_repair
            choice = read_numbers(call.text, len(candidates), self._k)
            if choice.problem is None:
                return [candidates[number - 1] for number in choice.numbers]
            messages = (*messages, *_again(call.text, choice.problem, len(candidates), self._k))
        raise _UnusableError(f"asked twice among {len(candidates)}, {choice.problem}")

    async def _call(self, task: Task, messages: tuple[Message, ...]) -> Call:
        sampling = self._sampling
        key = call_key(messages, "rank", self._model.name, sampling.temperature, sampling.max_tokens)
        # Tasks that read alike ask alike: the second one waits for the first one's answer.
        async with self._asking.setdefault(key, asyncio.Lock()):
            if (kept := self._model.cache.get(key)) is not None:
                return kept
            async with self._slots:
                completion = await self._patient(messages, sampling, session=f"retrieval-{task.key}")
            call = Call(
                key=key,
                text=completion.text,
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                usd=0.0,
                model=self._model.name,
                prompt="rank",
                prompt_sha256=prompt_sha256(messages),
                cached_tokens=completion.cached_tokens,
                finish_reason=completion.finish_reason,
            )
            self._model.cache.add(call)
            return call

    @cached_property
    def _patient(self) -> Generate:
        patience = Patience(
            place=self._model.name,
            backoff=Backoff(max_attempts=self._config.max_attempts),
            timeout_s=self._config.timeout_s,
        )
        return PatientModel(once=self._model.open(), patience=patience)


def _groups(candidates: Sequence[Hint], k: int, limit: int) -> list[list[Hint]]:
    """As few as fit, each with frequent and rare hints and with more than k, so that every round leaves fewer."""
    lengths = [len(line) + 1 for line in _lines(candidates)]
    for number in range(max(1, math.ceil(sum(lengths) / limit)), len(candidates) // (k + 1) + 1):
        if max(sum(lengths[start::number]) for start in range(number)) <= limit:
            return [list(candidates[start::number]) for start in range(number)]
    raise RetrievalError(
        f"{k + 1} hints do not fit one question with {limit} characters for them; raise retriever.llm.max_candidate_chars, "
        "use a model with a longer context, or lower retriever.k"
    )


def _question(task: Task, opening: str, candidates: Sequence[Hint], k: int) -> tuple[Message, ...]:
    user = _prompt("rank").substitute(
        goal=task.goal,
        opening=opening,
        candidates="\n".join(_lines(candidates)),
        **_asked(len(candidates), k),
    )
    system = _prompt("rank.system").template
    return (Message(role="system", content=system), Message(role="user", content=user))


def _again(reply: str, problem: str, num_candidates: int, k: int) -> tuple[Message, Message]:
    request = _prompt("repair").substitute(problem=problem, **_asked(num_candidates, k))
    return Message(role="assistant", content=reply), Message(role="user", content=request)


def _asked(num_candidates: int, k: int) -> dict[str, str]:
    # No numbers as an example: a weak model would repeat them.
    return {"k": str(k), "num_candidates": str(num_candidates), "example": ", ".join(["..."] * k)}


def _lines(candidates: Sequence[Hint]) -> list[str]:
    return [f"{number}. {' '.join(hint.text.split())}" for number, hint in enumerate(candidates, start=1)]


@cache
def _prompt(name: str) -> string.Template:
    return string.Template((_PROMPTS / f"{name}.txt").read_text(encoding="utf-8").strip())
