"""Cosine of sentence embeddings from a small encoder on this machine's CPU: mean pooling over the last layer, as sentence encoders are used."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from actors.models import ModelError, resolve_model

_BATCH = 32
_DIGITS = 5
"""Of a score: what is beyond depends on threads and batches."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""Texts -> [num_texts, size] of length 1."""


class Encoder:
    """An `Embed`; the model is loaded at its first call."""

    def __init__(self, model: str):
        self._model = model

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        parts = [self._pooled(list(texts[at : at + _BATCH])) for at in range(0, len(texts), _BATCH)]
        return np.concatenate(parts)

    def _pooled(self, texts: list[str]) -> np.ndarray:
        import torch

        tokenizer, network = self._loaded
        inputs = tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        )
        with torch.inference_mode():
            # [num_texts, num_tokens, size]
            states = network(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            ).last_hidden_state
        kept = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        pooled = ((states * kept).sum(1) / kept.sum(1).clamp(min=1)).float().numpy()
        return pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)

    @property
    def _max_length(self) -> int:
        tokenizer, network = self._loaded
        # A tokenizer without a limit says so by a huge number.
        return min(tokenizer.model_max_length, getattr(network.config, "max_position_embeddings", 512))

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise ModelError(
                f"retriever 'embedding' needs transformers and torch ({error}); install the extra: pip install 'offbook[train]', "
                "or use 'lsa', which needs neither"
            ) from error
        folder = resolve_model(self._model)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            network = AutoModel.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"embedding_model {self._model!r} cannot be loaded as an encoder ({error}); "
                "give a folder with a checkpoint and its tokenizer"
            ) from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer, network.eval()


class Embedding:
    def __init__(self, texts: Sequence[str], embed: Embed):
        self._embed = embed
        self._texts = embed(texts)

    def scores(self, query: str) -> np.ndarray:
        return np.round(self._texts @ self._embed([query])[0], _DIGITS).astype(float)
