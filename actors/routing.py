"""Which engine answers which session. Plain bookkeeping: knows ids and weights, and nothing of Ray."""

import heapq
import random
from collections.abc import Iterable
from enum import Enum
from typing import Protocol


class NoEngineError(RuntimeError):
    """No engine takes sessions."""


class Policy(Protocol):
    """Where a new session goes. Hears of every engine that takes new ones, and of its load whenever that changes."""

    def put(self, engine: str, load: float) -> None: ...

    def drop(self, engine: str) -> None: ...

    def choose(self, avoid: str | None = None) -> str | None:
        """None: there is no engine. `avoid` is chosen only where there is no other."""
        ...


class LeastLoaded:
    """O(log n) a change and a choice; of equals the one that came first."""

    def __init__(self) -> None:
        self._loads: dict[str, float] = {}
        self._order: dict[str, int] = {}
        self._heap: list[tuple[float, int, str]] = []
        """Holds what loads were, too: an entry that is no longer true is thrown away when it comes to the top."""

    def put(self, engine: str, load: float) -> None:
        if self._loads.get(engine) == load:
            return
        self._loads[engine] = load
        entry = (load, self._order.setdefault(engine, len(self._order)), engine)
        if len(self._heap) > 4 * len(self._loads) + 64:
            self._heap = [(load, self._order[name], name) for name, load in self._loads.items()]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, entry)

    def drop(self, engine: str) -> None:
        self._loads.pop(engine, None)

    def choose(self, avoid: str | None = None) -> str | None:
        engine = self._top()
        if engine is None or engine != avoid or len(self._loads) == 1:
            return engine
        load = self._loads.pop(engine)
        other = self._top()
        self.put(engine, load)
        return other

    def _top(self) -> str | None:
        while self._heap:
            load, _, engine = self._heap[0]
            if self._loads.get(engine) == load:
                return engine
            heapq.heappop(self._heap)
        return None


class Random:
    """Any engine, whatever its load: what least-loaded is measured against."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self._engines: list[str] = []
        self._places: dict[str, int] = {}

    def put(self, engine: str, load: float) -> None:
        if engine not in self._places:
            self._places[engine] = len(self._engines)
            self._engines.append(engine)

    def drop(self, engine: str) -> None:
        place = self._places.pop(engine, None)
        if place is not None:
            last = self._engines.pop()
            if last != engine:
                self._engines[place], self._places[last] = last, place

    def choose(self, avoid: str | None = None) -> str | None:
        if not self._engines:
            return None
        chosen = self._rng.randrange(len(self._engines))
        if self._engines[chosen] == avoid:
            chosen = (chosen + 1) % len(self._engines)
        return self._engines[chosen]


class _State(Enum):
    OPEN = "takes new sessions"
    DRAINING = "keeps those it has"
    DEAD = "may come back"
    GONE = "never comes back"


class Router:
    """Sticky by session, moved on only when the engine is dead or gone. A session weighs what its caller says, such as its tokens."""

    def __init__(
        self, engines: Iterable[str] = (), policy: Policy | None = None, *, sticky: bool = True
    ) -> None:
        """Not `sticky`: every call is routed anew, which a benchmark measures."""
        self._policy: Policy = policy or LeastLoaded()
        self._sticky = sticky
        # session -> engine, weight. Whoever plays an episode ends its session with it, so no more are here than are in flight.
        self._sessions: dict[str, tuple[str, int]] = {}
        self._weight: dict[str, int] = {}  # engine -> of all its sessions
        self._count: dict[str, int] = {}
        self._size: dict[str, float] = {}
        self._states: dict[str, _State] = {}
        for engine in engines:
            self.add(engine)

    def add(self, engine: str, size: float = 1.0) -> None:
        """`size`: what it holds, in the weights' unit; loads are compared as parts of it."""
        self._weight.setdefault(engine, 0)
        self._count.setdefault(engine, 0)
        self._size[engine] = size
        self._set(engine, _State.OPEN)

    def remove(self, engine: str) -> None:
        """Its sessions move at their next call."""
        self._set(engine, _State.GONE)

    def drain(self, engine: str) -> None:
        """It takes no new session and keeps those it has."""
        if self._states.get(engine) == _State.OPEN:
            self._set(engine, _State.DRAINING)

    def mark_dead(self, engine: str) -> None:
        """Its sessions move at their next call; they lose the prefix cache and nothing else."""
        if self._states.get(engine, _State.GONE) != _State.GONE:
            self._set(engine, _State.DEAD)

    def mark_alive(self, engine: str) -> None:
        if self._states.get(engine) == _State.DEAD:
            self._set(engine, _State.OPEN)

    def next_engine(self, avoid: str | None = None) -> str | None:
        """Who would get the next new session."""
        return self._policy.choose(avoid)

    def engine_for(self, session: str, weight: int = 1) -> str:
        """The session's engine, chosen at its first call and again after that engine died."""
        known = self._sessions.get(session)
        if known is not None and self._sticky and self._lives(known[0]):
            return known[0]
        chosen = self._policy.choose()
        if chosen is None:
            raise NoEngineError(f"none of the {self.num_engines} engines takes sessions")
        self.place(session, chosen, known[1] if known else weight)
        return chosen

    def place(self, session: str, engine: str, weight: int = 1) -> None:
        """Put the session there, whatever the policy says."""
        self.end_session(session)
        self._sessions[session] = (engine, weight)
        self._change(engine, weight, 1)

    def reweigh(self, session: str, weight: int) -> None:
        known = self._sessions.get(session)
        if known is not None and known[1] != weight:
            self._sessions[session] = (known[0], weight)
            self._change(known[0], weight - known[1], 0)

    def end_session(self, session: str) -> None:
        known = self._sessions.pop(session, None)
        if known is not None:
            self._change(known[0], -known[1], -1)

    def load(self, engine: str) -> int:
        """What the sessions now on the engine weigh."""
        return self._weight[engine]

    def sessions(self, engine: str) -> int:
        return self._count[engine]

    def engine_of(self, session: str) -> str | None:
        known = self._sessions.get(session)
        return known[0] if known else None

    @property
    def num_engines(self) -> int:
        """Dead ones included."""
        return sum(state != _State.GONE for state in self._states.values())

    @property
    def num_open(self) -> int:
        """Those that take new sessions."""
        return sum(state == _State.OPEN for state in self._states.values())

    @property
    def loads(self) -> dict[str, int]:
        return {
            engine: self._weight[engine] for engine, state in self._states.items() if state != _State.GONE
        }

    @property
    def dead(self) -> tuple[str, ...]:
        return tuple(engine for engine, state in self._states.items() if state == _State.DEAD)

    def _lives(self, engine: str) -> bool:
        return self._states[engine] in (_State.OPEN, _State.DRAINING)

    def _set(self, engine: str, state: _State) -> None:
        self._states[engine] = state
        if state == _State.OPEN:
            self._policy.put(engine, self._weight[engine] / self._size[engine])
        else:
            self._policy.drop(engine)

    def _change(self, engine: str, weight: int, count: int) -> None:
        self._weight[engine] += weight
        self._count[engine] += count
        if self._states[engine] == _State.OPEN:
            self._policy.put(engine, self._weight[engine] / self._size[engine])
