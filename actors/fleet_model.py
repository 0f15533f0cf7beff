"""A fleet's engines as one `Generate`, for callers that play no episodes. Asks once and sets no time limit."""

import asyncio
from collections.abc import Sequence

from actors.chat import Completion, Message, Sampling
from actors.config import EndpointConfig, EngineConfig
from actors.fleet import Fleet
from actors.player import Models, open_model


class FleetModel:
    """Connects at its first call, and belongs to the event loop of that call."""

    def __init__(self, fleet: Fleet) -> None:
        """Raises `ValueError` for a model behind an endpoint."""
        if isinstance(fleet.model, EndpointConfig):
            raise ValueError(
                f"{fleet.model.model!r} is served by an endpoint and not by engines of our own; ask it through OpenAIOnce"
            )
        self._fleet = fleet
        self._models: Models | None = None
        self._connecting = asyncio.Lock()

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        models = await self._connected()
        try:
            return await models.generate_for(None)(messages, sampling, session=session)
        finally:
            # Questions are rarely asked twice: where the next one goes is for the engines' load to say.
            models.end_session(session)

    async def _connected(self) -> Models:
        async with self._connecting:
            if self._models is None:
                self._models = await self._connect()
            return self._models

    async def _connect(self) -> Models:
        if not isinstance(self._fleet.model, EngineConfig):
            return open_model(self._fleet.model)
        from actors.engine_client import EngineClient
        from actors.env_host import EngineActorPort

        # Engines that do not run yet start here, which takes minutes: other tasks of the loop go on.
        engines = await asyncio.to_thread(lambda: self._fleet.engines)
        return await EngineClient.connect({name: EngineActorPort(engine) for name, engine in engines.items()})
