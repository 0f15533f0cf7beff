"""Several OpenAI-compatible servers of one model, in the place of a fleet: episodes stay with their server, and move when it fails."""

import asyncio
from collections.abc import Mapping, Sequence

from actors.chat import Completion, Generate, Message, Sampling
from actors.config import EndpointConfig
from actors.openai_chat import OpenAIOnce
from actors.openai_client import place_of
from actors.patience import Patience, PatientModel, TryError
from actors.retry import Backoff
from actors.routing import NoEngineError, Router

_FAILURES_BEFORE_REST = 2


class Endpoints:
    """`Models` and a `Generate` at once: a server is asked for one model, whatever the adapter. Belongs to one event loop."""

    def __init__(
        self,
        config: EndpointConfig,
        *,
        base_delay_s: float = 0.5,
        max_delay_s: float = 20.0,
        rest_s: float = 10.0,
    ) -> None:
        """`rest_s`: a server that failed twice in a row gets nothing for so long, unless all have."""
        self._router, self._rest_s = Router(config.base_urls), rest_s
        single = {"base_urls": (), "max_sessions": None}
        self._servers = {
            url: OpenAIOnce(config.model_copy(update=single | {"base_url": url})) for url in config.base_urls
        }
        self._places = {url: place_of(url, config.model) for url in config.base_urls}
        self._failures = dict.fromkeys(config.base_urls, 0)
        patience = Patience(
            place=f"{len(config.base_urls)} servers of {config.model!r}",
            backoff=Backoff(
                max_attempts=config.max_attempts, base_delay_s=base_delay_s, max_delay_s=max_delay_s
            ),
            timeout_s=config.timeout_s,
        )
        self._model = PatientModel(once=self._ask, patience=patience)

    def generate_for(self, adapter: str | None) -> Generate:
        return self._model

    def place(self, session: str, engine: str) -> None:
        if engine in self._servers and engine not in self._router.dead:
            self._router.place(session, engine, 0)

    def end_session(self, session: str) -> None:
        self._router.end_session(session)

    @property
    def held_tokens(self) -> Mapping[str, int]:
        return self._router.loads

    @property
    def unreachable(self) -> tuple[str, ...]:
        """None: a server that rests here may answer other hosts, and nobody else would say when it is back."""
        return ()

    async def _ask(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        try:
            url = self._router.engine_for(session)
        except NoEngineError:
            raise TryError(
                "all of them failed and rest", retryable=True, retry_after_s=self._rest_s
            ) from None
        try:
            completion = await self._servers[url](messages, sampling, session=session)
        except TryError as error:
            self._note_failure(url, error)
            error.message = f"{self._places[url]}: {error.message}"
            raise
        self._failures[url] = 0
        self._router.reweigh(session, completion.prompt_tokens + completion.completion_tokens)
        return completion

    def _note_failure(self, url: str, error: TryError) -> None:
        """A server that says when to come back works, and one that refuses will refuse elsewhere."""
        if not error.retryable or error.retry_after_s is not None:
            return
        self._failures[url] += 1
        if self._failures[url] >= _FAILURES_BEFORE_REST and url not in self._router.dead:
            self._router.mark_dead(url)
            asyncio.get_running_loop().call_later(self._rest_s, self._router.mark_alive, url)
