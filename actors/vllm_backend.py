"""The two ways of driving vLLM, behind one small interface. Knows token ids and weights; nothing of chats or Ray.

`InsideBackend` runs the engine core in a thread of this process: on CPU it starts in seconds and lives and dies with its process.
`ApartBackend` is `AsyncLLM`, whose core has a process of its own: on a GPU the core then never waits for tokenising.
"""

import asyncio
import itertools
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from actors.chat import Sampling
from actors.wire import Answer

log = logging.getLogger(__name__)


class Backend(Protocol):
    async def generate(
        self, prompt_ids: list[int], params: Any, lora: Any | None, salt: str | None = None
    ) -> Answer:
        """`salt`: parts what the prefix cache keeps; None: with all others that have none."""
        ...

    def kv_capacity_tokens(self) -> int | None:
        """Tokens that the KV cache holds."""
        ...

    def drawing_tokens(self) -> int:
        """Drawn so far by the calls that run."""
        ...

    async def reload(self, folder: str) -> None:
        """Swap the weights for those of a checkpoint of the same shapes; the caller sees to it that nothing is running."""
        ...

    async def reset_cache(self) -> None: ...

    def shutdown(self) -> None: ...


def sampling_params(sampling: Sampling, stop_ids: Sequence[int] | None) -> Any:
    """`stop_ids`: tokens that end the reply in the place of `sampling.stop`; the caller then turns ids into text."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        stop=list(sampling.stop) if stop_ids is None else None,
        stop_token_ids=stop_ids,
        detokenize=stop_ids is None,
        # A seed keeps a generator per request, which greedy decoding does not need.
        seed=sampling.seed if sampling.temperature > 0 else None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def prompt_of(prompt_ids: list[int], salt: str | None) -> dict[str, Any]:
    """vLLM's own form. The cache knows tokens, and a LoRA by its name, but not that weights under the same name are others now."""
    return {"prompt_token_ids": prompt_ids} | ({"cache_salt": salt} if salt else {})


def _kv_capacity(vllm_config: Any) -> int | None:
    cache = vllm_config.cache_config
    return cache.num_gpu_blocks * cache.block_size if cache.num_gpu_blocks else None


def _drawing(engine: Any) -> int:
    # Copied first: the engine's thread adds to it meanwhile.
    states = list(engine.output_processor.request_states.values())
    return sum(state.detokenizer.num_output_tokens() for state in states if state.detokenizer is not None)


def _answer(output: Any) -> Answer:
    completion = output.outputs[0]
    return Answer(
        text=completion.text,
        cached_tokens=output.num_cached_tokens or 0,
        token_ids=tuple(completion.token_ids),
        finish_reason=str(completion.finish_reason),
    )


class InsideBackend:
    """One thread owns the engine; coroutines leave requests in its inbox and wait for their futures."""

    def __init__(self, **engine_args: Any) -> None:
        from vllm import EngineArgs, LLMEngine

        self._engine = LLMEngine.from_engine_args(EngineArgs(**engine_args))
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Future]] = {}
        self._ids = itertools.count()
        self._thread = threading.Thread(target=self._drive, name="vllm-core", daemon=True)
        self._thread.start()

    async def generate(
        self, prompt_ids: list[int], params: Any, lora: Any | None, salt: str | None = None
    ) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        request = str(next(self._ids))

        def submit() -> None:
            try:
                self._engine.add_request(request, prompt_of(prompt_ids, salt), params, lora_request=lora)
            except Exception as error:  # noqa: BLE001 - a request that is refused must not end the others
                loop.call_soon_threadsafe(_settle, future, error)
            else:
                self._waiting[request] = (loop, future)

        self._inbox.put(submit)
        try:
            return await future
        except asyncio.CancelledError:
            self._inbox.put(lambda: self._abort(request))
            raise

    def kv_capacity_tokens(self) -> int | None:
        return _kv_capacity(self._engine.vllm_config)

    def drawing_tokens(self) -> int:
        return _drawing(self._engine)

    async def reload(self, folder: str) -> None:
        await self._between_steps(
            lambda: self._engine.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        )
        await self.reset_cache()

    async def reset_cache(self) -> None:
        await self._between_steps(self._engine.reset_prefix_cache)

    def shutdown(self) -> None:
        self._inbox.put(None)
        self._thread.join(timeout=10)

    async def _between_steps(self, work: Callable[[], Any]) -> None:
        """Have the engine's thread do it, and wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def do() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - carried over to the coroutine that asked
                loop.call_soon_threadsafe(_settle, future, error)
            else:
                loop.call_soon_threadsafe(_settle, future, None)

        self._inbox.put(do)
        await future

    def _abort(self, request: str) -> None:
        if self._waiting.pop(request, None):
            self._engine.abort_request([request])

    def _drive(self) -> None:
        try:
            while self._take_inbox():
                if self._engine.has_unfinished_requests():
                    self._deliver([out for out in self._engine.step() if out.finished])
        except BaseException:
            # A core that failed once answers nothing again: leaving makes the failure visible to whoever restarts us.
            log.exception("the engine core failed; this process ends")
            os._exit(70)

    def _take_inbox(self) -> bool:
        """Do what coroutines asked for, waiting only when nothing runs; False at shutdown."""
        while not self._inbox.empty() or not self._engine.has_unfinished_requests():
            task = self._inbox.get()
            if task is None:
                return False
            task()
        return True

    def _deliver(self, outputs: list[Any]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future, Answer]]] = {}
        for output in outputs:
            waiting = self._waiting.pop(output.request_id, None)
            if waiting:
                by_loop.setdefault(waiting[0], []).append((waiting[1], _answer(output)))
        for loop, settled in by_loop.items():
            # One wake-up of the event loop for all requests that a step finished.
            loop.call_soon_threadsafe(_settle_all, settled)


class ApartBackend:
    """`AsyncLLM`: the core in its own process."""

    def __init__(self, **engine_args: Any) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_args))
        self._ids = itertools.count()

    async def generate(
        self, prompt_ids: list[int], params: Any, lora: Any | None, salt: str | None = None
    ) -> Answer:
        request = str(next(self._ids))
        last = None
        async for output in self._llm.generate(
            prompt_of(prompt_ids, salt), params, request, lora_request=lora
        ):
            last = output
        assert last is not None
        return _answer(last)

    def kv_capacity_tokens(self) -> int | None:
        return _kv_capacity(self._llm.vllm_config)

    def drawing_tokens(self) -> int:
        return _drawing(self._llm)

    async def reload(self, folder: str) -> None:
        await self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        await self.reset_cache()

    async def reset_cache(self) -> None:
        await self._llm.reset_prefix_cache()

    def shutdown(self) -> None:
        self._llm.shutdown()


def _settle(future: asyncio.Future, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _settle_all(settled: list[tuple[asyncio.Future, Answer]]) -> None:
    for future, answer in settled:
        if not future.done():
            future.set_result(answer)
