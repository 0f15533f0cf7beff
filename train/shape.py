"""A decoder's dimensions from its `config.json`, and what follows from them: parameters and arithmetic. Plain numbers; imports no torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOGITS_AT_ONCE = 2**28
"""Elements of the logits that training holds at once (1 GiB in float32); a long batch of a large vocabulary is computed in pieces, and
each piece again for its gradient."""

_FAMILIES = {"llama", "mistral", "qwen2", "qwen3"}
"""Whose layers are made as `ModelShape` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A dense decoder: attention with grouped keys, a gated MLP, norms before each."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    is_tied: bool
    """The head is the embedding."""
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    norms_heads: bool = False
    """Queries and keys are normed (Qwen3)."""

    @classmethod
    def read(cls, model: str) -> "ModelShape":
        """Raises `ValueError` where the folder has no `config.json` or it is of an architecture that is not known here."""
        path = Path(model) / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"the dimensions of {model} are not on this machine ({error}); fetch its config.json"
            ) from None
        return cls.of(config)

    @classmethod
    def of(cls, config: dict[str, Any]) -> "ModelShape":
        family = config.get("model_type", "")
        if family not in _FAMILIES:
            raise ValueError(
                f"layers of model_type {family!r} are not known; known are {', '.join(sorted(_FAMILIES))}"
            )
        heads = config["num_attention_heads"]
        bias = bool(config.get("attention_bias", False))
        return cls(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or config["hidden_size"] // heads,
            intermediate=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            is_tied=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=family == "qwen2" or bias,
            out_bias=family in ("llama", "qwen3") and bias,
            mlp_bias=bool(config.get("mlp_bias", False)),
            norms_heads=family == "qwen3",
        )

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """`(in, out)` of a layer's linear maps."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Of all layers' linear maps, biases apart: what a token is multiplied with, and what 4 bits hold."""
        return self.layers * sum(a * b for a, b in self.linears.values())

    @property
    def parameters(self) -> int:
        """All of them, exactly."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        biases = self.qkv_bias * (queries + 2 * keys) + self.out_bias * self.hidden
        biases += self.mlp_bias * (2 * self.intermediate + self.hidden)
        norms = 2 * self.hidden + self.norms_heads * 2 * self.head_size
        embeddings = self.vocabulary * self.hidden * (1 if self.is_tied else 2)
        return self.linear_parameters + self.layers * (biases + norms) + embeddings + self.hidden

    def adapter_parameters(self, rank: int, targets: Sequence[str]) -> int:
        """Of LoRA on the named maps; `ValueError` for a name that no layer has."""
        if unknown := sorted(set(targets) - set(self.linears)):
            raise ValueError(f"no layer has {', '.join(unknown)}; it has {', '.join(self.linears)}")
        return self.layers * sum(rank * sum(self.linears[name]) for name in targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What there is to read: sums over the rows of one epoch."""

    num_tokens: int
    num_loss_tokens: int
    squares: int
    """Sum of the squared lengths of rows, which attention grows with."""

    @classmethod
    def of(cls, lengths: Sequence[int], num_loss_tokens: int) -> "Work":
        return cls(
            num_tokens=sum(int(n) for n in lengths),
            num_loss_tokens=num_loss_tokens,
            squares=sum(int(n) ** 2 for n in lengths),
        )


def training_flops(shape: ModelShape, work: Work, *, adapter_parameters: int, recomputed: bool) -> float:
    """Floating-point operations of LoRA training on `work`, once.

    A frozen map costs its product forward and the gradient of its input backward (no gradient of its weight), an adapter all three,
    attention one and two; the head counts where there is loss. `recomputed`: layers are computed forward once more, as gradient
    checkpointing does; without it, what the model needs (the numerator of MFU).
    """
    linear = 2 * shape.linear_parameters * work.num_tokens
    adapter = 2 * adapter_parameters * work.num_tokens
    # Queries with keys and weights with values, each half of the square because of the causal mask.
    attention = 2 * shape.layers * shape.heads * shape.head_size * work.squares
    head = 2 * shape.vocabulary * shape.hidden * work.num_loss_tokens
    once = 2 * linear + 3 * adapter + 3 * attention + 2 * head
    return float(once + (linear + adapter + attention if recomputed else 0))
