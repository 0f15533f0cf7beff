"""A call with all its tries: what is tried again, after which pause, and the one deadline over all. Knows neither servers nor prices."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from actors.chat import Completion, Generate, GenerateError, Message, PromptTooLongError, Sampling
from actors.retry import Again, Backoff

T = TypeVar("T")


class TryError(GenerateError):
    """One request failed. `retry_after_s`: the pause that the server asks for; `may_cost`: whether it may bill for the request all the same."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        retry_after_s: float | None = None,
        may_cost: bool = False,
    ):
        super().__init__(message, retryable=retryable)
        self.retry_after_s, self.may_cost = retry_after_s, may_cost

    def __reduce__(self):
        return (_rebuild_try_error, (self.message, self.retryable, self.retry_after_s, self.may_cost))


def _rebuild_try_error(
    message: str, retryable: bool, retry_after_s: float | None, may_cost: bool
) -> TryError:
    return TryError(message, retryable=retryable, retry_after_s=retry_after_s, may_cost=may_cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Tries a request until it is answered. It owns the deadline: what it carries out sets no time limit of its own."""

    place: str
    """Names the other side in errors."""
    backoff: Backoff
    timeout_s: float
    """All tries and their pauses."""
    try_timeout_s: float | None = None
    """One try; None: it may use all that is left."""
    clock: Callable[[], float] = time.monotonic

    async def __call__(
        self, request: Callable[[], Awaitable[T]], enter: Callable[[], Awaitable[None]] | None = None
    ) -> T:
        """`enter` is awaited before each try and is not counted: a long queue of one's own is no server that does not answer.

        Raises `GenerateError` with the number of tries and the last reason.
        """
        left_s, attempt = self.timeout_s, 0
        while True:
            attempt += 1
            if enter is not None:
                await enter()
            began = self.clock()
            try:
                return await _within(request, min(left_s, self.try_timeout_s or left_s))
            except PromptTooLongError:
                raise
            except GenerateError as error:
                failed = error
            left_s -= self.clock() - began
            decision = self.backoff.decide(
                attempt=attempt,
                retryable=failed.retryable,
                asked_s=getattr(failed, "retry_after_s", None),
                remaining_s=left_s,
            )
            if not isinstance(decision, Again):
                tries = f" after {attempt} tries" if attempt > 1 else ""
                message = f"{self.place}{tries}: {failed.message}"
                raise GenerateError(message, retryable=failed.retryable) from None
            await asyncio.sleep(decision.delay_s)
            left_s -= decision.delay_s


class Gate(Protocol):
    """What stands before every request to a model, retries included, and hears what came of it."""

    async def enter(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> int:
        """Waits for its turn and returns the request's number. Raises `GenerateError` where it must not be sent at all."""
        ...

    def answered(self, number: int, completion: Completion) -> None: ...

    def failed(self, number: int, *, may_cost: bool) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientModel:
    """A `Generate` that asks another one with patience, through a gate."""

    once: Generate
    """Asks once; a `TryError` of it says more than a `GenerateError`."""
    patience: Patience
    gate: Gate | None = None

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        gate, number = self.gate, 0
        if gate is None:
            return await self.patience(lambda: self.once(messages, sampling, session=session))

        async def enter() -> None:
            nonlocal number
            number = await gate.enter(messages, sampling, session=session)

        async def request() -> Completion:
            try:
                completion = await self.once(messages, sampling, session=session)
            except BaseException as error:
                # Whoever gives up waiting does not know whether the other side has finished, and billed.
                gave_up = isinstance(error, asyncio.CancelledError)
                gate.failed(number, may_cost=gave_up or getattr(error, "may_cost", False))
                raise
            gate.answered(number, completion)
            return completion

        return await self.patience(request, enter)


async def _within(request: Callable[[], Awaitable[T]], limit_s: float) -> T:
    try:
        async with asyncio.timeout(limit_s):
            return await request()
    except TimeoutError:
        raise TryError("it did not answer in time", retryable=True, may_cost=True) from None
