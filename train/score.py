"""How likely a model finds what was said: the log-probability of a row's tokens under loss, by the base or with an adapter.

Teacher forcing on the very tokens that training sees, so that a number here is minus the training loss of that row. Knows nothing of why it is asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from train.adapter import check_base
from train.base import load_base
from train.tokenize import IGNORED

TOKENS_AT_ONCE = 8_192
"""Padded tokens of one batch: what bounds the logits held in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRow:
    log_prob: float
    """Sum over the row's tokens under loss, in nats."""
    num_tokens: int
    """Under loss."""


class Scorer:
    """One base model, read once, and its adapters one after another."""

    def __init__(self, model: str, *, dtype: str, device: str = "cpu") -> None:
        self._model = model
        self._device = torch.device(device)
        self._base = load_base(model, dtype, device=self._device)

    def score(
        self,
        rows: Sequence[tuple[Sequence[int], Sequence[int]]],
        adapter: Path | None = None,
        *,
        tokens_at_once: int = TOKENS_AT_ONCE,
    ) -> list[ScoredRow]:
        """Of each `(input_ids, labels)`, in their order. Raises `AdapterError` for an adapter of another base."""
        if adapter is None:
            return self._score(self._base, rows, tokens_at_once)
        check_base(adapter, self._model)
        adapted = PeftModel.from_pretrained(self._base, str(adapter), autocast_adapter_dtype=False).eval()
        try:
            return self._score(adapted, rows, tokens_at_once)
        finally:
            self._base = adapted.unload()

    def _score(
        self, model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]], tokens_at_once: int
    ) -> list[ScoredRow]:
        scored: dict[int, ScoredRow] = {}
        for indices in batches_by_length([len(ids) for ids, _ in rows], tokens_at_once):
            sums = self._log_probs(model, [rows[i] for i in indices])
            for index, log_prob in zip(indices, sums, strict=True):
                labels = rows[index][1]
                scored[index] = ScoredRow(
                    log_prob=log_prob, num_tokens=sum(label != IGNORED for label in labels)
                )
        return [scored[i] for i in range(len(rows))]

    @torch.no_grad()
    def _log_probs(self, model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        longest = max(len(ids) for ids, _ in rows)
        input_ids_BT = torch.zeros((len(rows), longest), dtype=torch.long)
        labels_BT = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
        for at, (ids, labels) in enumerate(rows):
            input_ids_BT[at, : len(ids)] = torch.tensor(ids)
            labels_BT[at, : len(labels)] = torch.tensor(labels)
        targets_BT = labels_BT[:, 1:].to(self._device)
        # Where some row has loss: logits elsewhere are most of a small model's work. Padding stands on the right, where no
        # real token sees it.
        positions_K = (targets_BT != IGNORED).any(dim=0).nonzero().flatten()
        logits_BKV = model(
            input_ids=input_ids_BT.to(self._device), use_cache=False, logits_to_keep=positions_K
        ).logits
        targets_BK = targets_BT[:, positions_K]
        losses_BK = torch.nn.functional.cross_entropy(
            logits_BKV.float().flatten(0, 1), targets_BK.flatten(), ignore_index=IGNORED, reduction="none"
        ).view_as(targets_BK)
        return [-total for total in losses_BK.double().sum(dim=1).tolist()]


def batches_by_length(lengths: Sequence[int], tokens_at_once: int) -> Iterator[list[int]]:
    """Indices of rows of like length, longest first, so many that their padded tokens stay within bounds; one at least."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = max(1, tokens_at_once // lengths[order[start]])
        yield order[start : start + size]
        start += size
