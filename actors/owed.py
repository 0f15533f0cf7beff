"""What a rollout still owes of what was asked for. Holds positions, not episodes: a body is taken from the caller's sequence when it is played."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from actors.episode import EpisodeSpec

T = TypeVar("T")


class Owed:
    """Some of a sequence's episodes in an order of their own, eight bytes each. The sequence may make each when it is asked for it."""

    def __init__(self, specs: Sequence[EpisodeSpec], positions: Iterable[int] | None = None) -> None:
        self._specs = specs
        self._positions = array("q", range(len(specs)) if positions is None else positions)

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[EpisodeSpec]:
        return (self._specs[position] for position in self._positions)

    def by(self, key: Callable[[EpisodeSpec], T]) -> dict[T, "Owed"]:
        """In groups, each in the same order."""
        found: dict[T, array[int]] = defaultdict(lambda: array("q"))
        for position, spec in zip(self._positions, self, strict=True):
            found[key(spec)].append(position)
        return {value: Owed(self._specs, positions) for value, positions in found.items()}

    def longest_first(self, turns_by_kind: Mapping[str, float]) -> "Owed":
        """By what episodes of the kind took, so that no long one starts when the others are done; ties keep their order."""
        if not turns_by_kind:
            return self
        turns = array("d", (turns_by_kind.get(spec.task.kind, 0.0) for spec in self))
        order = sorted(range(len(turns)), key=lambda index: -turns[index])
        return Owed(self._specs, (self._positions[index] for index in order))
