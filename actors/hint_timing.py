"""When an episode is shown its hints: at the start, every few turns, when it is stuck, or once before a given turn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from actors.trajectory import GivenHint, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class HintTiming:
    """Later showings hand out the next `k` of the ranking that the episode was given at its start."""

    when: Literal["every", "stuck", "at"]
    """`every`: at the start and before every `turns`-th reply; `stuck`: after `turns` steps in a row without news; `at`: before reply `turns`."""
    turns: int
    """`at` counts replies from 0."""
    k: int
    """Hints a showing."""


class HintSchedule:
    """Decides before each reply what stands in its prompt. What was shown stays there: prompts only grow, and their prefix stays cached."""

    def __init__(self, hints: Sequence[GivenHint], timing: HintTiming | None, *, opening: str) -> None:
        """Without a timing every hint is shown at its own turn, the start unless it says otherwise."""
        self._timing = timing
        self._hints = list(hints) if timing is None else [replace(hint, turn=None) for hint in hints]
        self._num_shown = len(hints) if timing is None else 0
        self._num_read = 0
        self._idle_steps = 0
        self._read = {opening}

    def before_reply(self, turns: Sequence[Turn]) -> tuple[GivenHint, ...]:
        """The hints in the prompt of the reply that follows `turns`, those shown earlier included."""
        if self._timing is not None and self._num_shown < len(self._hints) and self._is_due(turns):
            upto = min(self._num_shown + self._timing.k, len(self._hints))
            for place in range(self._num_shown, upto):
                self._hints[place] = replace(self._hints[place], turn=len(turns))
            self._num_shown = upto
        return tuple(self._hints[: self._num_shown])

    @property
    def record(self) -> tuple[GivenHint, ...]:
        """All hints that the episode held ready, each with the turn at which it was shown."""
        return tuple(self._hints)

    def _is_due(self, turns: Sequence[Turn]) -> bool:
        timing = self._timing
        assert timing is not None
        match timing.when:
            case "every":
                return len(turns) % timing.turns == 0
            case "at":
                return len(turns) == timing.turns
            case "stuck":
                return self._is_stuck(turns, timing.turns)

    def _is_stuck(self, turns: Sequence[Turn], patience: int) -> bool:
        for turn in turns[self._num_read :]:
            if turn.action is None and turn.valid:
                continue  # A thought brings no news and wastes no step.
            has_news = turn.valid and turn.observation not in self._read
            self._idle_steps = 0 if has_news else self._idle_steps + 1
            self._read.add(turn.observation)
        self._num_read = len(turns)
        if self._idle_steps < patience:
            return False
        self._idle_steps = 0
        return True
