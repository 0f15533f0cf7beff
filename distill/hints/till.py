"""Where questions become replies that are paid for: within the budget, at the allowed pace, each of them once."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from actors.chat import Completion, Generate, GenerateError, Message, Sampling
from actors.pace import Pace
from actors.patience import Patience, PatientModel
from distill.hints.call_cache import Call, CallCache
from distill.hints.conversation import Conversation, Question
from distill.hints.spending import PICO, Leave, Prices, Spending

_TOKENS_A_MESSAGE = 16
_TOKENS_A_PROMPT = 64


class NoMoneyError(GenerateError):
    """The budget does not reach for the question, which was not asked."""

    def __init__(self, limit_usd: float):
        super().__init__(f"max_cost_usd={limit_usd:g} could be passed by the next call", retryable=False)
        self.limit_usd = limit_usd

    def __reduce__(self):
        return (NoMoneyError, (self.limit_usd,))


class Shop(Protocol):
    async def buy(self, question: Question) -> None:
        """Put a reply into the cache. Raises `NoMoneyError`, or `GenerateError` where there is none to be had."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What every way of buying writes to."""

    cache: CallCache
    spending: Spending
    prices: Prices
    form_bytes: int = 0
    """Length of the JSON schema that goes with each question."""

    def worst(self, messages: Sequence[Message], max_tokens: int) -> int:
        """Picodollars that a request cannot pass: no tokeniser makes more tokens than there are bytes, chat marks aside."""
        size = prompt_bytes(messages) + self.form_bytes
        marks = _TOKENS_A_MESSAGE * len(messages) + _TOKENS_A_PROMPT
        return self.prices.cost(size + marks, max_tokens)

    def keep(self, question: Question, completion: Completion, request: str, talk: Conversation) -> None:
        """On disk first, then in the ledger: a reply that is paid for is never asked for again."""
        cost = self.prices.cost(
            completion.prompt_tokens, completion.completion_tokens, completion.cached_tokens
        )
        # A server that does not tell what it counted is taken to have counted the most.
        told = completion.prompt_tokens > 0
        call = Call(
            key=question.key,
            text=completion.text,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            usd=(cost if told else self.spending.worst(request)) / PICO,
            request=request,
            trajectory=question.trajectory,
            model=talk.model,
            prompt=talk.config.prompt,
            prompt_sha256=question.prompt_sha256,
            reask=question.reask,
            cached_tokens=completion.cached_tokens,
            finish_reason=completion.finish_reason,
        )
        self.cache.add(call)
        self.spending.keep(call)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paces:
    """How fast requests may leave; None: no limit."""

    requests: Pace | None = None
    tokens: Pace | None = None

    def take(self, tokens: int) -> float:
        waits = [pace.take(n) for pace, n in ((self.requests, 1), (self.tokens, tokens)) if pace]
        return max(waits, default=0.0)

    def correct(self, tokens: int) -> None:
        if self.tokens:
            self.tokens.correct(tokens)


class Till:
    """Asks a model question by question."""

    def __init__(
        self, once: Generate, talk: Conversation, books: Books, patience: Patience, paces: Paces
    ) -> None:
        self.talk, self.books, self.paces = talk, books, paces
        self.settled = asyncio.Event()
        self._once, self._patience = once, patience
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def buy(self, question: Question) -> None:
        # Two failures with the same trace ask the same: the second takes the reply of the first.
        async with self._locks[question.key]:
            if self.books.cache.get(question.key) is None:
                config = self.talk.config
                sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
                gate = _TillGate(till=self, question=question)
                model = PatientModel(once=self._once, patience=self._patience, gate=gate)
                await model(question.messages, sampling, session=question.trajectory)


@dataclass(slots=True, kw_only=True)
class _TillGate:
    """One question's way past the till, try by try."""

    till: Till
    question: Question
    _requests: list[str] = field(default_factory=list)
    _tokens: int = 0

    async def enter(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> int:
        till, spending = self.till, self.till.books.spending
        worst = till.books.worst(messages, sampling.max_tokens)
        while (leave := spending.may_leave(worst)) is Leave.LATER:
            till.settled.clear()
            await till.settled.wait()
        if leave is Leave.NEVER:
            raise NoMoneyError(spending.limit_usd or 0.0)
        request = spending.reserve(worst)
        self._tokens = prompt_bytes(messages) // 4 + sampling.max_tokens
        try:
            if (wait_s := till.paces.take(self._tokens)) > 0:
                await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            spending.release(request)
            till.settled.set()
            raise
        spending.send(request)
        self._requests.append(request)
        return len(self._requests) - 1

    def answered(self, number: int, completion: Completion) -> None:
        used = completion.prompt_tokens + completion.completion_tokens
        self.till.paces.correct((used or self._tokens) - self._tokens)
        self.till.books.keep(self.question, completion, self._requests[number], self.till.talk)
        self.till.settled.set()

    def failed(self, number: int, *, may_cost: bool) -> None:
        spending = self.till.books.spending
        (spending.hold if may_cost else spending.release)(self._requests[number])
        self.till.settled.set()


def prompt_bytes(messages: Sequence[Message]) -> int:
    return sum(len(message.content.encode("utf-8", "replace")) for message in messages)
