"""Rows into blocks: first-fit, the longest first, and how much of what workers compute is padding either way. Plain numbers only."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def pack(lengths: Sequence[int], capacity: int, *, multiple_of: int = 1) -> list[list[int]]:
    """Indices of each block, the fullest block first; a multiple of so many blocks, some of them empty if rows are few.

    First-fit over the longest first, which needs at most 11/9 of the fewest blocks that there are, plus one. A row longer than `capacity`
    has a block of its own. Where the number of blocks is rounded up, rows are spread over all of them instead.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    blocks = _first_fit(order, lengths, capacity)
    num_blocks = math.ceil(len(blocks) / multiple_of) * multiple_of
    if num_blocks > len(blocks):
        spread = _spread(order, lengths, num_blocks)
        bound = max(capacity, max(lengths))
        fits = all(sum(lengths[i] for i in block) <= bound for block in spread)
        blocks = spread if fits else blocks + [[] for _ in range(num_blocks - len(blocks))]
    return sorted(blocks, key=lambda block: -sum(lengths[i] for i in block))


def _first_fit(order: list[int], lengths: Sequence[int], capacity: int) -> list[list[int]]:
    blocks: list[list[int]] = []
    room: list[int] = []
    for index in order:
        at = next((b for b, left in enumerate(room) if left >= lengths[index]), None)
        if at is None:
            blocks.append([index])
            room.append(capacity - lengths[index])
        else:
            blocks[at].append(index)
            room[at] -= lengths[index]
    return blocks


def _spread(order: list[int], lengths: Sequence[int], num_blocks: int) -> list[list[int]]:
    """The longest first, each to the block that holds least."""
    blocks: list[list[int]] = [[] for _ in range(num_blocks)]
    held = [0] * num_blocks
    for index in order:
        at = held.index(min(held))
        blocks[at].append(index)
        held[at] += lengths[index]
    return blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """Positions that workers compute or wait for, against tokens that there are."""

    num_tokens: int
    num_padded: int
    """Positions computed for no token."""
    num_idle: int
    """Positions that a worker could have computed while it waited for the slowest."""

    @property
    def share(self) -> float:
        """Of all positions, those that no token is computed at."""
        lost = self.num_padded + self.num_idle
        return lost / (self.num_tokens + lost) if lost else 0.0

    def __str__(self) -> str:
        return f"{self.share:.1%} ({self.num_padded} padded, {self.num_idle} idle, {self.num_tokens} tokens)"


def waste(slots: Iterable[Sequence[Sequence[int]]], *, packed: bool) -> Waste:
    """`slots`: for each slot of a step, the lengths of every worker's rows."""
    tokens = padded = idle = 0
    for slot in slots:
        real = [sum(cell) for cell in slot]
        computed = real if packed else [len(cell) * max(cell, default=0) for cell in slot]
        tokens += sum(real)
        padded += sum(computed) - sum(real)
        idle += sum(max(computed) - one for one in computed)
    return Waste(num_tokens=tokens, num_padded=padded, num_idle=idle)
