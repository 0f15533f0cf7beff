"""The pocket model's network: Qwen2's architecture in plain torch, with factored name embeddings while it trains.

Knows nothing of households. `mug 1` and `mug 2` are tokens of their own, but each row of the embedding starts as, and stays, the
sum of a part of its own, a part of the word (`mug`) and a part of the number (`1`): what is learnt of one number helps all. The
sum is written out on export, so that the checkpoint is an ordinary Qwen2 with tied embeddings.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LOGIT_SCALE = 0.05
"""First weight of the last norm: the embedding is the output layer as well, and is large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    vocab_size: int
    hidden: int = 256
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    inner: int = 512
    max_position: int = 2048
    rope_theta: float = 10_000.0

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


class Block(nn.Module):
    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        width, kv_width = config.hidden, config.kv_heads * config.head_dim
        self.norm_attention = nn.Parameter(torch.ones(width))
        self.norm_mlp = nn.Parameter(torch.ones(width))
        self.qkv = nn.Linear(width, width + 2 * kv_width)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * config.inner, bias=False)
        self.down = nn.Linear(config.inner, width, bias=False)

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        config = self.config
        batch, length, width = x_BTD.shape
        h = rms_norm(x_BTD, self.norm_attention)
        kv_width = config.kv_heads * config.head_dim
        q, k, v = self.qkv(h).split([width, kv_width, kv_width], dim=-1)
        q = rotate(q.view(batch, length, config.heads, config.head_dim).transpose(1, 2), cos, sin)
        k = rotate(k.view(batch, length, config.kv_heads, config.head_dim).transpose(1, 2), cos, sin)
        v = v.view(batch, length, config.kv_heads, config.head_dim).transpose(1, 2)
        groups = config.heads // config.kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTD = x_BTD + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.gate_up(rms_norm(x_BTD, self.norm_mlp)).chunk(2, dim=-1)
        return x_BTD + self.down(F.silu(gate) * up)


class PocketNetwork(nn.Module):
    """`parts` maps every token to the row of its word part and of its number part (row 0 of each: none)."""

    def __init__(self, config: NetworkConfig, word_of_token: Tensor, number_of_token: Tensor):
        super().__init__()
        self.config = config
        self.register_buffer("word_of_token", word_of_token, persistent=False)
        self.register_buffer("number_of_token", number_of_token, persistent=False)
        self.own = nn.Parameter(torch.empty(config.vocab_size, config.hidden))
        self.words = nn.Parameter(torch.empty(int(word_of_token.max()) + 1, config.hidden))
        self.numbers = nn.Parameter(torch.empty(int(number_of_token.max()) + 1, config.hidden))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.full((config.hidden,), _LOGIT_SCALE))
        self._init_weights()

    def _init_weights(self) -> None:
        has_word = (self.word_of_token > 0).float().unsqueeze(1)
        # As large as what a block writes: a later block must still read which token stands where.
        nn.init.normal_(self.own, std=0.8)
        with torch.no_grad():
            self.own.mul_(1 - 0.6 * has_word)
        nn.init.normal_(self.words, std=0.8)
        nn.init.normal_(self.numbers, std=0.5)
        for block in self.blocks:
            for linear in (block.qkv, block.out, block.gate_up, block.down):
                nn.init.normal_(linear.weight, std=self.config.hidden**-0.5 * 0.7)
            nn.init.zeros_(block.qkv.bias)
            nn.init.zeros_(block.out.weight)
            nn.init.zeros_(block.down.weight)

    def embedding(self) -> Tensor:
        """The tied embedding, [vocab_size, hidden]."""
        word_mask = (self.word_of_token > 0).unsqueeze(1)
        number_mask = (self.number_of_token > 0).unsqueeze(1)
        return (
            self.own
            + self.words[self.word_of_token] * word_mask
            + self.numbers[self.number_of_token] * number_mask
        )

    def hidden_states(self, tokens_BT: Tensor, embedding: Tensor) -> Tensor:
        x_BTD = F.embedding(tokens_BT, embedding)
        cos, sin = rope_table(self.config, tokens_BT.shape[1])
        for block in self.blocks:
            x_BTD = block(x_BTD, cos, sin)
        return rms_norm(x_BTD, self.norm)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits, [batch, length, vocab_size]."""
        embedding = self.embedding()
        return self.hidden_states(tokens_BT, embedding) @ embedding.T

    def tables(self) -> list[nn.Parameter]:
        """The parts of the embedding."""
        return [self.own, self.words, self.numbers]

    def matrices(self) -> list[nn.Parameter]:
        """The weights that Muon updates; all else goes to AdamW."""
        return [p for name, p in self.blocks.named_parameters() if p.ndim == 2]


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-6)


def rope_table(config: NetworkConfig, length: int) -> tuple[Tensor, Tensor]:
    """[length, head_dim] each, in Qwen2's half-split layout."""
    half = torch.arange(0, config.head_dim, 2).float() / config.head_dim
    angle = torch.outer(torch.arange(length).float(), config.rope_theta**-half)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def qwen2_state(network: PocketNetwork) -> dict[str, Tensor]:
    """The weights under Hugging Face's names."""
    config = network.config
    kv_width = config.kv_heads * config.head_dim
    state = {
        "model.embed_tokens.weight": network.embedding().detach(),
        "model.norm.weight": network.norm.detach(),
    }
    for index, block in enumerate(network.blocks):
        at = f"model.layers.{index}."
        sizes = [config.hidden, kv_width, kv_width]
        for name, weight, bias in zip(
            "qkv", block.qkv.weight.split(sizes), block.qkv.bias.split(sizes), strict=True
        ):
            state[f"{at}self_attn.{name}_proj.weight"] = weight
            state[f"{at}self_attn.{name}_proj.bias"] = bias
        gate, up = block.gate_up.weight.chunk(2)
        state |= {
            f"{at}self_attn.o_proj.weight": block.out.weight,
            f"{at}mlp.gate_proj.weight": gate,
            f"{at}mlp.up_proj.weight": up,
            f"{at}mlp.down_proj.weight": block.down.weight,
            f"{at}input_layernorm.weight": block.norm_attention,
            f"{at}post_attention_layernorm.weight": block.norm_mlp,
        }
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}


def qwen2_config(config: NetworkConfig, *, eos_id: int, pad_id: int) -> dict:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden,
        "intermediate_size": config.inner,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_position,
        "max_window_layers": config.layers,
        "use_sliding_window": False,
        "rms_norm_eps": 1e-6,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": True,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "bos_token_id": None,
        "eos_token_id": eos_id,
        "pad_token_id": pad_id,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }


def save_qwen2(
    network: PocketNetwork, state: dict[str, Tensor], folder: Path, *, eos_id: int, pad_id: int
) -> None:
    """A checkpoint that transformers and vLLM load, in bfloat16. The tokenizer's files are written elsewhere."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = qwen2_config(network.config, eos_id=eos_id, pad_id=pad_id)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"do_sample": False, "eos_token_id": eos_id, "pad_token_id": pad_id, "max_new_tokens": 64}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    (folder / "network.json").write_text(json.dumps(asdict(network.config), indent=2) + "\n")


def load_network(folder: Path) -> PocketNetwork:
    """The network of a saved checkpoint, in float32; its embedding is whole, without parts."""
    from safetensors.torch import load_file

    config = NetworkConfig(**json.loads((folder / "network.json").read_text()))
    none = torch.zeros(config.vocab_size, dtype=torch.long)
    network = PocketNetwork(config, none, none)
    state = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    with torch.no_grad():
        network.own.copy_(state["model.embed_tokens.weight"])
        network.norm.copy_(state["model.norm.weight"])
        for index, block in enumerate(network.blocks):
            at = f"model.layers.{index}."
            for part in ("weight", "bias"):
                joined = [state[f"{at}self_attn.{n}_proj.{part}"] for n in "qkv"]
                getattr(block.qkv, part).copy_(torch.cat(joined))
            block.out.weight.copy_(state[f"{at}self_attn.o_proj.weight"])
            block.gate_up.weight.copy_(torch.cat([state[f"{at}mlp.{n}_proj.weight"] for n in ("gate", "up")]))
            block.down.weight.copy_(state[f"{at}mlp.down_proj.weight"])
            block.norm_attention.copy_(state[f"{at}input_layernorm.weight"])
            block.norm_mlp.copy_(state[f"{at}post_attention_layernorm.weight"])
    return network.eval()


class Decoder:
    """Greedy continuation of many sequences at once, each with its own length. For quick evaluations; serving is vLLM's work."""

    def __init__(self, network: PocketNetwork, rows: int, *, max_length: int = 1536):
        config = network.config
        self.network = network
        self.embedding = network.embedding().detach()
        self.cos, self.sin = rope_table(config, max_length)
        shape = (config.layers, 2, rows, config.kv_heads, max_length, config.head_dim)
        self.cache = torch.zeros(shape)
        self.lengths = torch.zeros(rows, dtype=torch.long)
        self.max_length = max_length

    @torch.no_grad()
    def extend(self, rows: list[int], pieces: list[list[int]]) -> Tensor:
        """Append tokens to some rows; the logits after the last token of each, [len(rows), vocab_size]."""
        config = self.network.config
        at = torch.tensor(rows)
        counts = torch.tensor([len(piece) for piece in pieces])
        longest = int(counts.max())
        tokens = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, piece in enumerate(pieces):
            tokens[i, : len(piece)] = torch.tensor(piece)
        positions = (self.lengths[at].unsqueeze(1) + torch.arange(longest)).clamp_max(self.max_length - 1)
        end = int((self.lengths[at] + longest).max().clamp_max(self.max_length))
        mask = (torch.arange(end) <= positions.unsqueeze(-1)).unsqueeze(1)
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        x = F.embedding(tokens, self.embedding)
        groups = config.heads // config.kv_heads
        kv_width = config.kv_heads * config.head_dim
        for layer, block in enumerate(self.network.blocks):
            h = rms_norm(x, block.norm_attention)
            q, k, v = block.qkv(h).split([config.hidden, kv_width, kv_width], dim=-1)
            q = rotate(q.view(len(rows), longest, config.heads, -1).transpose(1, 2), cos, sin)
            k = rotate(k.view(len(rows), longest, config.kv_heads, -1).transpose(1, 2), cos, sin)
            v = v.view(len(rows), longest, config.kv_heads, -1).transpose(1, 2)
            for part, new in ((0, k), (1, v)):
                self.cache[layer, part][at.unsqueeze(1), :, positions] = new.transpose(1, 2)
            k, v = (self.cache[layer, part][at, :, :end].repeat_interleave(groups, dim=1) for part in (0, 1))
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            x = x + block.out(attended.transpose(1, 2).reshape(len(rows), longest, config.hidden))
            gate, up = block.gate_up(rms_norm(x, block.norm_mlp)).chunk(2, dim=-1)
            x = x + block.down(F.silu(gate) * up)
        self.lengths[at] += counts
        last = x[torch.arange(len(rows)), counts - 1]
        return rms_norm(last, self.network.norm) @ self.embedding.T
