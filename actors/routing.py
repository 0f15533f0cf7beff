"""Which engine answers which session. Plain bookkeeping: knows ids and counts, and nothing of Ray."""

from collections.abc import Sequence


class NoEngineError(RuntimeError):
    """Every engine is marked dead."""


class Router:
    """Sticky by session, least-loaded for new ones, moved on only when the engine is marked dead."""

    def __init__(self, engines: Sequence[str]) -> None:
        # session -> engine. Whoever plays an episode ends its session with it, so no more are here than are in flight.
        self._sessions: dict[str, str] = {}
        self._load = dict.fromkeys(engines, 0)
        self._dead: set[str] = set()

    def engine_for(self, session: str) -> str:
        """The session's engine, chosen at its first call and again after that engine died."""
        engine = self._sessions.get(session)
        if engine is not None and engine not in self._dead:
            return engine
        self.end_session(session)
        alive = [name for name in self._load if name not in self._dead]
        if not alive:
            raise NoEngineError(f"none of the {len(self._load)} engines is alive")
        chosen = min(alive, key=lambda name: self._load[name])
        self._sessions[session] = chosen
        self._load[chosen] += 1
        return chosen

    def end_session(self, session: str) -> None:
        engine = self._sessions.pop(session, None)
        if engine is not None:
            self._load[engine] -= 1

    def mark_dead(self, engine: str) -> None:
        """Its sessions move at their next call; they lose the prefix cache and nothing else."""
        self._dead.add(engine)

    def mark_alive(self, engine: str) -> None:
        self._dead.discard(engine)

    def load(self, engine: str) -> int:
        """Sessions now on the engine."""
        return self._load[engine]
