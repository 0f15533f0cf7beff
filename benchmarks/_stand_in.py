"""An engine of a fleet with something else in the weights' place: the real actor, tokenizer and line to its hosts, and replies by a rule."""

import os
import time
from typing import Any

from actors.cluster import this_node
from actors.engine import Engine, EngineInfo
from actors.mailbox import Mailbox
from actors.models import resolve_model
from actors.tokenizer import load_tokenizer


def stand_in_engine(answer: Any) -> Any:
    """A subclass of `Engine`, for `Fleet(engine_kind=...)`. `answer`: async, from a `Request` to an `Answer`.

    The class is made here and `answer` is to be a function inside another one: Ray's workers get such by value and need not import
    what asks for them.
    """

    class StandInEngine(Engine):
        def __init__(self, config):
            self._config = config
            self._tokenizer = load_tokenizer(resolve_model(config.model))
            self._mailbox = Mailbox(self._answer)
            self._calls = self._prompt_tokens = self._cached_tokens = self._completion_tokens = 0
            self._running = self._running_prompt_tokens = 0
            self._loaded, self._last_end = None, time.monotonic()

        async def info(self):
            return EngineInfo(
                model=self._config.model,
                device="cpu",
                dtype="none",
                threads=1,
                adapters="lora",
                max_model_len=1 << 20,
                load_s=0.0,
                pid=os.getpid(),
                node=this_node(),
            )

        def _drawing_tokens(self):
            return 0

        async def _answer(self, request):
            self._running += 1
            try:
                answered = await answer(request)
            finally:
                self._running -= 1
            self._calls += 1
            self._completion_tokens += len(answered.token_ids)
            return answered

    return StandInEngine
