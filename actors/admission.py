"""Whether one more episode may begin, and on which engine: as many as the engines' KV caches hold. Decisions only, knows no Ray.

An episode's prompt grows turn by turn. One too many, and each turn throws out of the prefix cache what another one needs next, so that
all of them are read from the start again and again. An episode that has begun is therefore never held up, and a new one waits until what
those before it are expected to come to leaves room.
"""

from actors.routing import Router

_LEARNT_AFTER = 8
ROOM_SHARE = 0.7
"""Of what an episode comes to, what it is let in for: few are at their end at the same time. In `benchmarks/simulate.py` `--room-share 1.0` wastes
room that is never used and with it three tenths of the turns a second, and from 0.6 on a long tail overflows the cache."""


class Growth:
    """How many tokens an episode comes to, learnt from those that ended and from those that still run.

    The short ones end first: their mean alone would let too many begin. Tokens of all episodes over the number of ended ones is the
    likeliest mean of a life whose end is as likely at every token, and it counts those that go on.
    """

    def __init__(self, first_guess: int | None = None, *, share: float = ROOM_SHARE) -> None:
        """`first_guess`: until some have ended. Rather too many: what begins too much at once throws out its own cache, and what begins too
        little makes up for it as soon as the first have ended."""
        self._first_guess, self._share = first_guess, share
        self._ended = 0
        self._ended_tokens = 0
        self.running_tokens = 0
        """Of the episodes that run now, so far."""

    def note_ended(self, tokens: int) -> None:
        self._ended += 1
        self._ended_tokens += tokens

    @property
    def tokens(self) -> int | None:
        """None: too few have ended to say, and nobody guessed."""
        if self._ended < _LEARNT_AFTER:
            return self._first_guess
        return max(1, (self._ended_tokens + self.running_tokens) // self._ended)

    @property
    def room(self) -> int | None:
        """Tokens that must be free for one more to begin; None: unknown."""
        tokens = self.tokens
        return tokens if tokens is None or self._ended < _LEARNT_AFTER else max(1, int(self._share * tokens))


class Admission:
    """Lets sessions in while their engine has room for what they are expected to come to.

    Where an engine's capacity is unknown, as behind an endpoint, and until an episode's size is known, `cap` sessions an engine.
    """

    def __init__(self, router: Router, *, cap: int) -> None:
        self._router, self._cap = router, cap
        self._capacity: dict[str, int | None] = {}
        self._held: dict[str, int] = {}

    def add(self, engine: str, capacity_tokens: int | None) -> None:
        """Also for an engine that came back with another capacity."""
        self._capacity[engine] = capacity_tokens
        self._router.add(engine, float(capacity_tokens or self._cap))

    def remove(self, engine: str) -> None:
        self._capacity.pop(engine, None)
        self._held.pop(engine, None)
        self._router.remove(engine)

    def note_held(self, engine: str, tokens: int) -> None:
        """What its sessions hold by now, prompts and replies: those that outgrew what was expected leave less room for others."""
        if engine in self._capacity:
            self._held[engine] = tokens

    def admit(self, session: str, expected_tokens: int | None, avoid: str | None = None) -> str | None:
        """The engine that it begins on; None: it waits. O(log n) in the number of engines."""
        engine = self._router.next_engine(avoid)
        if engine is None:
            return None
        weight = self._weight(engine, expected_tokens)
        if not self._has_room(engine, weight):
            return None
        self._router.place(session, engine, weight)
        return engine

    def end(self, session: str) -> None:
        self._router.end_session(session)

    def headroom(self, engine: str) -> int:
        """Tokens that no session is expected to need; sessions where the capacity is unknown."""
        capacity = self._capacity[engine]
        if capacity is None:
            return self._cap - self._router.sessions(engine)
        return capacity - max(self._router.load(engine), self._held.get(engine, 0))

    def _weight(self, engine: str, expected_tokens: int | None) -> int:
        capacity = self._capacity[engine]
        if capacity is None:
            return 1
        return expected_tokens if expected_tokens is not None else max(1, capacity // self._cap)

    def _has_room(self, engine: str, weight: int) -> bool:
        # One episode larger than the whole cache is slow and must not wait for ever.
        return weight <= self.headroom(engine) or self._router.sessions(engine) == 0
