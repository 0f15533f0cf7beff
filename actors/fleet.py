"""A study's engines, kept from one rollout to the next and shared by all arms; for models that run elsewhere it holds nothing."""

import logging
import os
import time
from collections.abc import Iterable
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.cluster import NodeWatch, shortage
from actors.config import EndpointConfig, EngineConfig, ModelConfig, RolloutConfig, ScriptedModelConfig
from actors.crew import Crew
from actors.driver import RolloutError
from actors.episode import EpisodeSpec
from actors.models import ModelError, check_adapter, resolve_model
from actors.pulse import Membership
from actors.replica import Replica
from actors.seats import Seats

log = logging.getLogger(__name__)

_LEAST_GRACE_S = 5.0
_UNBOUNDED = 1 << 30


class Fleet:
    """Engines join when a node has room for them and leave with it; hosts learn of that by `membership`."""

    def __init__(
        self,
        model: ModelConfig,
        rollout: RolloutConfig | None = None,
        *,
        start_timeout_s: float = 600,
        engine_kind: Any = None,
    ) -> None:
        """`engine_kind`: a subclass of `Engine` to start instead, such as one that measures."""
        self.model = model
        self._engine_kind = engine_kind
        self._start_timeout_s = start_timeout_s
        self._seats: Seats | None = None
        self._nodes: NodeWatch | None = None
        self._patience_s = 240.0
        self._learnt_tokens: int | None = None
        self._draining: frozenset[str] = frozenset()
        self._version = 0
        if isinstance(model, EngineConfig):
            self._folder = resolve_model(model.model)
        self._crew = self._new_crew()

    @property
    def engines(self) -> dict[str, Any]:
        """Handles of those that are ready, by name; the engines start at the first call."""
        if isinstance(self.model, EngineConfig) and not self._crew.members:
            self._start(self.model)
        return {replica.name: replica.actor for replica in self._ready}

    @property
    def membership(self) -> Membership:
        engines = {replica.name: replica.actor_name for replica in self._ready}
        return Membership(version=self._version, engines=engines, draining=self._draining)

    @property
    def infos(self) -> dict[str, Any]:
        return {replica.name: replica.info for replica in self._ready}

    def check_adapters(self, specs: Iterable[EpisodeSpec]) -> None:
        """Raise `ModelError` for an adapter that no engine of this fleet can serve, before anything is played."""
        for adapter in sorted({spec.adapter for spec in specs if spec.adapter}):
            if isinstance(self.model, EngineConfig):
                rank = self.model.max_lora_rank
                check_adapter(adapter, model=self.model.model, model_folder=self._folder, max_rank=rank)
            elif not isinstance(self.model, ScriptedModelConfig):
                raise ModelError(
                    f"adapter {adapter} cannot be loaded into {self.model.model!r} behind an endpoint; "
                    "serve it there under a name of its own and give that name as the model"
                )

    @property
    def swaps_weights(self) -> bool:
        """Whether an engine serves one adapter at a time."""
        return any(replica.info.adapters == "merge" for replica in self._ready)

    def metrics(self) -> dict[str, Any]:
        """Of the engines that answer."""
        found = {}
        for replica in self._ready:
            try:
                found[replica.name] = ray.get(replica.actor.metrics.remote())
            except RayActorError:
                continue
        return found

    def open_seats(self) -> Seats | None:
        """What the rollouts of one event loop share, so that together they ask no more of an engine than it holds; None: any number."""
        self._seats = None
        if isinstance(self.model, EngineConfig):
            # Twice what the engine runs at a time: while half of the episodes are in their worlds, it has the others.
            self._seats = Seats(2 * self.model.max_num_seqs)
            for replica in self._ready:
                self._seats.join(replica.name, replica.info.kv_capacity_tokens)
                if replica.retiring:
                    self._seats.drain(replica.name)
        elif isinstance(self.model, EndpointConfig) and self.model.base_urls:
            self._seats = Seats(self.model.max_sessions or _UNBOUNDED)
            for address in self.model.base_urls:
                self._seats.join(address)
        return self._seats

    def guess_tokens(self) -> int | None:
        """What an episode may come to before any has ended: what those of the last rollout did, or a good part of the context."""
        if self._learnt_tokens is None and self._ready:
            return min(replica.info.max_model_len for replica in self._ready) // 4
        return self._learnt_tokens

    def learn_tokens(self, tokens: int | None) -> None:
        """What the episodes of a rollout came to."""
        self._learnt_tokens = tokens or self._learnt_tokens

    async def mind(self, nodes: NodeWatch, patience_s: float) -> None:
        """While a rollout runs: start what is missing, watch what is there, until cancelled."""
        if not isinstance(self.model, EngineConfig):
            return
        self._nodes, self._patience_s = nodes, patience_s
        for replica in self._crew.members:
            self._assign(replica)
        await self._crew.run()

    def close(self) -> None:
        self._crew.close()
        self._crew = self._new_crew()
        self._version += 1

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What a replica reports; see `Roster`.

    def join(self, name: str, capacity_tokens: int | None) -> None:
        self._version += 1
        if self._seats is not None:
            self._seats.join(name, capacity_tokens)

    def drain(self, name: str) -> None:
        self._version += 1
        self._draining |= {name}
        if self._seats is not None:
            self._seats.drain(name)

    def mark_dead(self, name: str) -> None:
        if self._seats is not None:
            self._seats.mark_dead(name)

    def mark_alive(self, name: str) -> None:
        if self._seats is not None:
            self._seats.mark_alive(name)

    def taken(self, name: str) -> int:
        return self._seats.taken(name) if self._seats is not None else 0

    def leave(self, name: str) -> None:
        self._version += 1
        self._draining -= {name}
        if self._seats is not None:
            self._seats.leave(name)

    @property
    def _ready(self) -> list[Replica]:
        return [replica for replica in self._crew.members if replica.info is not None]

    def _new_crew(self) -> Crew[Replica]:
        wanted = self.model.replicas if isinstance(self.model, EngineConfig) else 0
        return Crew(wanted, self._recruit)

    def _recruit(self, number: int) -> Replica:
        from actors.engine import Engine

        assert isinstance(self.model, EngineConfig)
        replica = Replica(number, self.model, os.cpu_count() or 1, self._engine_kind or Engine, self)
        self._assign(replica)
        return replica

    def _assign(self, replica: Replica) -> None:
        replica.nodes, replica.patience_s = self._nodes, self._patience_s

    def _start(self, config: EngineConfig) -> None:
        began = time.monotonic()
        self._crew.fill()
        try:
            self._await_least(config.min_replicas, began)
        except (RayActorError, RayTaskError) as error:
            self.close()
            reason = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            raise RolloutError(f"the engine for {config.model!r} did not start: {reason}") from error
        except GetTimeoutError as error:
            self.close()
            raise RolloutError(
                f"{config.model!r} needs model.min_replicas = {config.min_replicas} engines and they were not ready within "
                f"{self._start_timeout_s:g} s: {shortage()}; lower min_replicas, or start Ray with more"
            ) from error
        seconds = time.monotonic() - began
        log.info(
            "%d of %d engines of %s ready in %.0f s", len(self._ready), config.replicas, config.model, seconds
        )

    def _await_least(self, least: int, began: float) -> None:
        """Until the least number is ready, and then as long again for those that are about as quick."""
        waiting = {replica.starting: replica for replica in self._crew.members}
        until = began + self._start_timeout_s
        while waiting and (left_s := until - time.monotonic()) > 0:
            done, _ = ray.wait(list(waiting), timeout=min(left_s, 5.0))
            for ref in done:
                waiting.pop(ref).settle()
            if done and len(self._ready) == least:
                now = time.monotonic()
                until = min(until, now + max(_LEAST_GRACE_S, now - began))
        if len(self._ready) < least:
            raise GetTimeoutError
