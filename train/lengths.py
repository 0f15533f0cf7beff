"""How long rows may be, and what becomes of those that are longer: never a silent cut."""

import json
from pathlib import Path

import numpy as np

from train.config import TrainConfig
from train.errors import RowTooLongError

IGNORED = -100

_CONTEXT_SHARE = 0.5
"""Of a later piece's room behind its opening, the most that turns without loss may take: what leads up to the turns it trains on."""

Tokens = tuple[np.ndarray, np.ndarray]
"""`(input_ids, labels)`, both [num_tokens]."""


def context_of(model: str) -> int | None:
    """Tokens that a checkpoint's positions reach; None for a model that is no folder or does not say."""
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = config.get("max_position_embeddings")
    return found if isinstance(found, int) else None


def row_limit(config: TrainConfig, context: int | None) -> int | None:
    """Tokens of the longest row that can be trained on as it is; None: no limit is known."""
    limits = [n for n in (config.max_length, context) if isinstance(n, int)]
    return min(limits, default=None)


def split_row(input_ids: np.ndarray, labels: np.ndarray, limit: int, *, row_id: str = "") -> list[Tokens]:
    """Pieces of at most `limit` tokens, cut where a reply ends.

    Every piece opens as the row does, up to the end of its first reply; a later one goes on from the turns just before
    those that it trains on. Each token under loss carries loss in one piece. Raises `RowTooLongError` where a turn is too long by itself.
    """
    starts, ends = _turns(labels)
    opening = ends[0]
    if opening > limit:
        raise RowTooLongError(
            f"row {row_id}: its opening and first reply alone have {opening} tokens, more than the limit of {limit}; "
            "raise max_length, or set too_long='drop'"
        )
    pieces: list[Tokens] = []
    turn = 0
    while turn < len(ends):
        first = _first_shown(starts, ends, turn, limit)
        length = (opening if turn else 0) + ends[turn] - starts[first]
        if length > limit:
            raise RowTooLongError(
                f"row {row_id}: its opening and turn {turn} alone have {length} tokens, more than the limit of {limit}; "
                "raise max_length, or set too_long='drop'"
            )
        last = turn
        while last + 1 < len(ends) and length + ends[last + 1] - ends[last] <= limit:
            last += 1
            length += ends[last] - starts[last]
        pieces.append(_piece(input_ids, labels, opening, starts[first], starts[turn], ends[last]))
        turn = last + 1
    return pieces


def _turns(labels: np.ndarray) -> tuple[list[int], list[int]]:
    """Where each turn (what is asked, then what is said) starts and ends; the last one has the row's end."""
    under_loss = (labels != IGNORED).astype(np.int8)
    ends = [int(i) for i in np.flatnonzero(np.diff(under_loss, append=0) == -1) + 1]
    ends[-1] = len(labels)
    return [0, *ends[:-1]], ends


def _first_shown(starts: list[int], ends: list[int], turn: int, limit: int) -> int:
    """The first turn behind the opening of a piece that trains from `turn` on."""
    if turn == 0:
        return 0
    room = limit - ends[0] - (ends[turn] - starts[turn])
    budget = min(room, int(_CONTEXT_SHARE * (limit - ends[0])))
    first = turn
    while first > 1 and starts[turn] - starts[first - 1] <= budget:
        first -= 1
    return first


def _piece(
    input_ids: np.ndarray, labels: np.ndarray, opening: int, start: int, trained: int, end: int
) -> Tokens:
    if start == 0:
        return input_ids[:end], labels[:end]
    silent = np.full(opening + trained - start, IGNORED, dtype=labels.dtype)
    return (
        np.concatenate([input_ids[:opening], input_ids[start:end]]),
        np.concatenate([silent, labels[trained:end]]),
    )
