"""Counts what a host's episodes do at the seam to their models, so that a host that steps none of them is noticed."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.chat import Completion, Generate, Message, Sampling
from actors.player import Models


class CountedModels:
    """`Models` that counts the turns and knows how long each episode's prompt has grown."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self.turns = 0
        self._playing: dict[str, int] = {}  # session -> tokens of its last prompt and reply
        self._over: dict[str, int] = {}

    def generate_for(self, adapter: str | None) -> Generate:
        return _Counted(counts=self, generate=self._models.generate_for(adapter))

    def end_session(self, session: str) -> None:
        if session in self._playing:
            self._over[session] = self._playing.pop(session)
        self._models.end_session(session)

    def begin_turn(self, session: str) -> None:
        self._playing.setdefault(session, 0)

    def note_turn(self, session: str, completion: Completion) -> None:
        self.turns += 1
        if session in self._playing:
            self._playing[session] = completion.prompt_tokens + completion.completion_tokens

    def take_size(self, session: str) -> int:
        """Tokens that an episode which is over came to; 0 where it had no turn. Told once."""
        return self._over.pop(session, 0)

    @property
    def playing(self) -> int:
        return len(self._playing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    counts: CountedModels
    generate: Generate

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        self.counts.begin_turn(session)
        completion = await self.generate(messages, sampling, session=session)
        self.counts.note_turn(session, completion)
        return completion
