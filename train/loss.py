"""The loss of one batch, token by token: rows padded or packed, logits only where there is loss, and never more than a bound at once."""

from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from train.batches import Batch
from train.lengths import IGNORED
from train.shape import LOGITS_AT_ONCE

_SCALES = ("logits_scaling", "logit_scale", "final_logit_softcapping", "output_multiplier_scale")
"""Settings of models that do more to a hidden state than multiply it with the head."""


class TokenLoss(torch.nn.Module):
    """A causal model, or one with adapters, whose output is the sum of its tokens' losses."""

    def __init__(
        self, model: torch.nn.Module, label_smoothing: float = 0.0, *, logits_at_once: int = LOGITS_AT_ONCE
    ):
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        self.logits_at_once = logits_at_once

    def forward(self, **tensors: torch.Tensor) -> torch.Tensor:
        return self.token_losses(**tensors).sum()

    def token_losses(
        self, input_ids: torch.Tensor, labels: torch.Tensor, **where: torch.Tensor | int
    ) -> torch.Tensor:
        """[num_tokens with loss], in the order of the batch. `where`: what `batch_tensors` makes of packed rows."""
        targets_BT = labels[:, 1:]
        causal = self._causal()
        if self._is_plain(causal):
            states_BTD = causal.get_decoder()(
                input_ids=input_ids, use_cache=False, **where
            ).last_hidden_state[:, :-1]
            at_BT = _never_empty(targets_BT != IGNORED)
            return self._in_pieces(causal.get_output_embeddings(), states_BTD[at_BT], targets_BT[at_BT])
        positions_K = _never_empty((targets_BT != IGNORED).any(dim=0)).nonzero().flatten()
        logits_BKV = self.model(
            input_ids=input_ids, use_cache=False, logits_to_keep=positions_K, **where
        ).logits
        targets_N = targets_BT[:, positions_K].flatten()
        losses_N = self._losses(logits_BKV.flatten(0, 1), targets_N)
        return losses_N[targets_N != IGNORED] if (targets_N != IGNORED).any() else losses_N

    def _causal(self) -> Any:
        model: Any = self.model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def _is_plain(self, causal: Any) -> bool:
        return not any(getattr(causal.config, name, None) for name in _SCALES)

    def _in_pieces(self, head: Any, states_ND: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        size = max(1, self.logits_at_once // head.weight.shape[0]) if head.weight.dim() == 2 else 0
        if size == 0 or len(targets_N) <= size:
            return self._losses(head(states_ND), targets_N)
        pieces = zip(states_ND.split(size), targets_N.split(size), strict=True)
        return torch.cat(
            [
                checkpoint(self._of_states, head, states, targets, use_reentrant=False)
                for states, targets in pieces
            ]
        )

    def _of_states(self, head: Any, states_ND: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        return self._losses(head(states_ND), targets_N)

    def _losses(self, logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        return cross_entropy(
            logits_NV.float(),
            targets_N,
            ignore_index=IGNORED,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )


def _never_empty(mask: torch.Tensor) -> torch.Tensor:
    """A batch without loss still needs a way back through the model: its first position, whose target is ignored."""
    if not mask.any():
        mask = mask.clone()
        mask.view(-1)[0] = True
    return mask


def batch_tensors(batch: Batch, device: Any, *, attention: str) -> dict[str, Any]:
    """Arguments of `TokenLoss`.

    Without an attention mask: padding stands on the right, where no real token sees it, and attention without a mask is much faster.
    Packed rows are told apart by positions that start again, of which transformers makes a block-diagonal mask; FlashAttention takes the
    rows' bounds instead and computes nothing between rows. Either needs `use_cache=False`: with a cache rows see each other.
    """
    tensors: dict[str, Any] = {
        "input_ids": torch.from_numpy(batch.input_ids).to(device),
        "labels": torch.from_numpy(batch.labels).to(device),
    }
    if batch.starts is None or len(batch.starts) == 1:
        return tensors
    tensors["position_ids"] = torch.from_numpy(batch.position_ids).to(device)
    if attention == "flash_attention_2":
        bounds = [*batch.starts, batch.input_ids.shape[1]]
        longest = max(b - a for a, b in pairwise(bounds))
        cu_seq_lens = torch.tensor(bounds, dtype=torch.int32, device=device)
        tensors |= {
            "cu_seq_lens_q": cu_seq_lens,
            "cu_seq_lens_k": cu_seq_lens,
            "max_length_q": longest,
            "max_length_k": longest,
        }
    return tensors
