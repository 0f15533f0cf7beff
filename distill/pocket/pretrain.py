"""Trains the pocket model from nothing: shards of demonstrations in, a Qwen2 checkpoint out, done when its time is up.

The learning rate follows the clock, so that it has come down to zero when the minutes are over, however busy the machine. Two
one-thread processes that meet once a step: on shared cores two threads that meet at every operation lose most of their time.
"""

import json
import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from distill.pocket.episodes import ECHO, REPLY, Batch, Shard, batches
from distill.pocket.network import NetworkConfig, PocketNetwork, load_network, qwen2_state, save_qwen2
from distill.pocket.orphans import end_with_parent
from distill.pocket.tokenizer import END, PAD, TokenParts, load_parts

log = logging.getLogger(__name__)

_SHARD_PATIENCE_S = 300.0
MATCHED = 10
"""Names in a row of the match drill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    minutes: float
    """Wall time of the training; the rate is zero at its end."""
    seed: int = 0
    workers: int = 2
    step_tokens: int = 3072
    """Tokens of one update, all workers together, padding included."""
    muon_rate: float = 0.02
    muon_decay: float = 0.6
    """Without any, the matrices grow until what the blocks write drowns the embedding, and reading stops getting better."""
    embedding_rate: float = 0.02
    adam_rate: float = 3e-3
    """Of norms and biases."""
    echo_weight: float = 0.3
    """Loss weight of names that an observation repeats; the assistant's tokens have 1."""
    flat: float = 0.2
    """Share of the time at the full rate; then it falls in a line to zero."""
    drill_steps: int = 60
    """First updates, on random names said twice: they teach copying before anything else."""
    match_every: int = 10
    """One update in so many is on finding the name that goes with a word; 0, or a vocabulary whose names have no numbers: none."""
    ema: float = 0.99
    checkpoint_s: float = 180.0
    log_every: int = 20
    """Updates a row of `metrics.jsonl` is the mean of."""
    hidden: int = 192
    layers: int = 4
    heads: int = 3
    kv_heads: int = 3
    inner: int = 512
    rope_theta: float = 1e6
    start_from: str = ""
    """Folder of a model of the same size to start with: what its tokenizer knows, this model knows; "": from nothing."""


class Muon:
    """Momentum, orthogonalised by Newton-Schulz steps (Keller Jordan's optimiser for hidden matrices)."""

    def __init__(self, params: list[torch.nn.Parameter], momentum: float = 0.95):
        self.params, self.momentum = params, momentum
        self.buffers = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, rate: float, decay: float, rank: int, world: int) -> None:
        """Each worker turns its share of the matrices; the sum over workers is the whole update."""
        updates = []
        for number, (p, buffer) in enumerate(zip(self.params, self.buffers, strict=True)):
            assert p.grad is not None
            buffer.lerp_(p.grad, 1 - self.momentum)
            if number % world == rank:
                updates.append(orthogonal(p.grad.lerp(buffer, self.momentum)))
            else:
                updates.append(torch.zeros_like(p))
        flat = torch.cat([u.reshape(-1) for u in updates])
        if world > 1:
            dist.all_reduce(flat)
        for p, update in zip(self.params, flat.split([p.numel() for p in self.params]), strict=True):
            p.mul_(1 - rate * decay)
            p.add_(update.view_as(p), alpha=-rate * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def orthogonal(gradient: Tensor, steps: int = 5) -> Tensor:
    """About the nearest matrix with all singular values one."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gradient.T if gradient.shape[0] > gradient.shape[1] else gradient
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if gradient.shape[0] > gradient.shape[1] else x


def train(config: PretrainConfig, shards: Path, tokenizer: Path, out: Path) -> None:
    """Train until the minutes are over; goes on from `out/state.pt` where there is one. Exports to `out/ema` on the way and to
    `out/final` at the end."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "pretrain.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
    if config.workers == 1:
        _work(0, config, shards, tokenizer, out)
        return
    torch.multiprocessing.spawn(_work, (config, shards, tokenizer, out), nprocs=config.workers)


def _work(rank: int, config: PretrainConfig, shards: Path, tokenizer: Path, out: Path) -> None:
    torch.set_num_threads(1 if config.workers > 1 else 2)
    torch.set_flush_denormal(True)
    # A spawned process has none of its parent's logging.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if config.workers > 1:
        end_with_parent()
        rendezvous = out / f"rendezvous-{_run_id(out)}"
        dist.init_process_group(
            "gloo",
            init_method=f"file://{rendezvous.resolve()}",
            rank=rank,
            world_size=config.workers,
        )
    _Trainer(rank, config, shards, tokenizer, out).run()
    if config.workers > 1:
        # Who leaves while the other still holds its end open is aborted now and then.
        dist.barrier()
        dist.destroy_process_group()


def _run_id(out: Path) -> str:
    return str((out / "pretrain.json").stat().st_mtime_ns)


class _Trainer:
    def __init__(self, rank: int, config: PretrainConfig, shards: Path, tokenizer: Path, out: Path):
        from tokenizers import Tokenizer

        self.rank, self.config, self.shards, self.out = rank, config, shards, out
        self.world = config.workers
        loaded = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
        vocab = loaded.get_vocab()
        self.pad, self.end = vocab[PAD], vocab[END]
        parts = load_parts(tokenizer)
        torch.manual_seed(config.seed)
        self.network = PocketNetwork(
            NetworkConfig(
                vocab_size=len(vocab),
                hidden=config.hidden,
                layers=config.layers,
                heads=config.heads,
                kv_heads=config.kv_heads,
                inner=config.inner,
                rope_theta=config.rope_theta,
            ),
            torch.tensor(parts.words),
            torch.tensor(parts.numbers),
        )
        if config.start_from:
            take_over(self.network, vocab, Path(config.start_from))
        self.name_ids = [i for i, n in enumerate(parts.numbers) if n]
        self.names_of_word = _names_of_word(parts)
        self.match_every = config.match_every if len(self.names_of_word) >= MATCHED else 0
        matrices = self.network.matrices()
        self.muon = Muon(matrices)
        tables = self.network.tables()
        vectors = [p for p in self.network.parameters() if p.ndim == 1]
        self.rest = [*tables, *vectors]
        self.adam = torch.optim.AdamW(
            [
                {"params": tables, "full_rate": config.embedding_rate},
                {"params": vectors, "full_rate": config.adam_rate},
            ],
            betas=(0.9, 0.95),
            weight_decay=0.01,
            foreach=True,
        )
        self.params = list(self.network.parameters())
        self.average = [p.detach().clone() for p in self.params]
        self.step, self.tokens, self.elapsed, self.shard_number = 0, 0, 0.0, 0

    def run(self) -> None:
        self._resume()
        began, before = time.monotonic(), self.elapsed
        saved = began
        recent: list[float] = []
        for batch in self._batches():
            self.elapsed = self._agree(before + time.monotonic() - began)
            progress = self.elapsed / (60 * self.config.minutes)
            if progress >= 1:
                break
            recent.append(self._update(batch, self._rate(progress)))
            if self.rank == 0 and self.step % self.config.log_every == 0:
                self._log(recent)
                recent = []
            if self.rank == 0 and time.monotonic() - saved > self.config.checkpoint_s:
                saved = time.monotonic()
                self._save_state()
                self._export(self.average, "ema")
        if self.rank == 0:
            if recent:
                self._log(recent)
            self._save_state()
            self._export([p.detach() for p in self.params], "final")
            self._export(self.average, "ema")

    def _rate(self, progress: float) -> float:
        warm = min(1.0, (self.step + 1) / 20)
        return warm * min(1.0, max(0.0, (1 - progress) / (1 - self.config.flat)))

    def _agree(self, seconds: float) -> float:
        """The first worker's clock is everybody's."""
        clock = torch.tensor([seconds if self.rank == 0 else 0.0], dtype=torch.float64)
        if self.world > 1:
            dist.all_reduce(clock)
        return float(clock[0])

    def _batches(self) -> Iterator[Batch]:
        drills = random.Random(self.config.seed * 1000 + self.rank)
        share = self.config.step_tokens // self.world
        for _ in range(self.step, self.config.drill_steps):
            yield name_drill(drills, self.name_ids, share // 2)
        since = 0
        while True:
            shard = self._next_shard()
            rng = random.Random(f"{self.config.seed}-{self.shard_number}")
            mine = batches(shard, rng, self.config.step_tokens, self.pad, divisor=self.world)
            for batch in mine:
                since += 1
                if self.match_every and since % self.match_every == 0:
                    yield match_drill(drills, self.names_of_word, self.end, share)
                yield Batch(
                    tokens=batch.tokens[self.rank :: self.world], roles=batch.roles[self.rank :: self.world]
                )

    def _next_shard(self) -> Shard:
        """Shards in order, waiting for the writer; round again when there are no more to come."""
        total = int((self.shards / "num_shards").read_text())
        path = self.shards / f"train-{self.shard_number % total:03d}.npz"
        until = time.monotonic() + _SHARD_PATIENCE_S
        while time.monotonic() < until:
            if path.is_file():
                self.shard_number += 1
                return Shard.load(path)
            time.sleep(1)
        raise TimeoutError(
            f"no {path} after {_SHARD_PATIENCE_S:.0f} s: the process that writes it has stopped, see its error above"
        )

    def _update(self, batch: Batch, rate: float) -> float:
        loss, weight = self._loss(batch)
        flat = [p.grad.reshape(-1) for p in self.params if p.grad is not None]
        sums = torch.cat([*flat, torch.stack([loss, weight])])
        if self.world > 1:
            dist.all_reduce(sums)
        total = sums[-1].clamp_min(1.0)
        sums /= total
        for p, grad in zip(self.params, sums[:-2].split([p.numel() for p in self.params]), strict=True):
            p.grad = grad.view_as(p)
        norm = float(sums[:-2].norm())
        if norm > 1.0:
            for p in self.rest:
                assert p.grad is not None
                p.grad.mul_(1.0 / norm)
        self.muon.step(self.config.muon_rate * rate, self.config.muon_decay, self.rank, self.world)
        for group in self.adam.param_groups:
            group["lr"] = group["full_rate"] * rate
        self.adam.step()
        self.network.zero_grad(set_to_none=True)
        keep = min(self.config.ema, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.params], 1 - keep)
        self.step += 1
        self.tokens += batch.tokens.size * self.world
        return float(sums[-2])

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the weighted losses, its gradient included, and the sum of weights."""
        tokens_BT = torch.from_numpy(batch.tokens)
        roles = torch.from_numpy(batch.roles[:, 1:].copy())
        weights = (roles == REPLY).float() + self.config.echo_weight * (roles == ECHO).float()
        embedding = self.network.embedding()
        hidden = self.network.hidden_states(tokens_BT[:, :-1], embedding)
        chosen = weights > 0
        logits = hidden[chosen] @ embedding.T
        losses = F.cross_entropy(logits, tokens_BT[:, 1:][chosen], reduction="none")
        loss = (losses * weights[chosen]).sum()
        loss.backward()
        return loss.detach(), weights.sum()

    def _log(self, losses: list[float]) -> None:
        row = {
            "step": self.step,
            "tokens": self.tokens,
            "minutes": round(self.elapsed / 60, 2),
            "loss": round(float(np.mean(losses)), 4),
            "shard": self.shard_number,
        }
        with (self.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        log.info("step %(step)d  %(tokens)d tokens  %(minutes).1f min  loss %(loss).4f", row)

    def _export(self, weights: list[Tensor], name: str) -> None:
        held = [p.detach().clone() for p in self.params]
        with torch.no_grad():
            for p, w in zip(self.params, weights, strict=True):
                p.copy_(w)
            save_qwen2(
                self.network, qwen2_state(self.network), self.out / name, eos_id=self.end, pad_id=self.pad
            )
            for p, w in zip(self.params, held, strict=True):
                p.copy_(w)

    def _save_state(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "adam": self.adam.state_dict(),
            "muon": self.muon.buffers,
            "average": self.average,
            "counters": (self.step, self.tokens, self.elapsed, self.shard_number),
        }
        part = self.out / "state.part"
        torch.save(state, part)
        part.rename(self.out / "state.pt")

    def _resume(self) -> None:
        path = self.out / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"], strict=False)
        self.adam.load_state_dict(state["adam"])
        self.muon.buffers = state["muon"]
        self.average = state["average"]
        self.step, self.tokens, self.elapsed, self.shard_number = state["counters"]
        if self.world > 1:
            dist.barrier()


def take_over(network: PocketNetwork, vocab: Mapping[str, int], folder: Path) -> None:
    """Give `network` the weights of a saved model, token by token of its own vocabulary; tokens that are new there stay as they began."""
    from tokenizers import Tokenizer

    before = load_network(folder)
    if replace(before.config, vocab_size=network.config.vocab_size) != network.config:
        raise ValueError(f"{folder} holds a network of {before.config}, which cannot become {network.config}")
    known = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    shared = [(index, known[token]) for token, index in vocab.items() if token in known]
    mine, theirs = (torch.tensor(ids) for ids in zip(*shared, strict=True))
    state = {name: t for name, t in before.state_dict().items() if name.startswith(("blocks.", "norm"))}
    with torch.no_grad():
        network.load_state_dict(state, strict=False)
        # What words and numbers share is in the whole rows already.
        network.words.zero_()
        network.numbers.zero_()
        network.own.mul_(before.own.std() / network.own.std())
        network.own[mine] = before.own[theirs]


def _names_of_word(parts: TokenParts) -> dict[int, list[int]]:
    """The token of each plain word -> the tokens of its names."""
    plain = {
        word: i for i, (word, n) in enumerate(zip(parts.words, parts.numbers, strict=True)) if word and not n
    }
    names: dict[int, list[int]] = {}
    for i, (word, number) in enumerate(zip(parts.words, parts.numbers, strict=True)):
        if number and word in plain:
            names.setdefault(plain[word], []).append(i)
    return names


def match_drill(
    rng: random.Random,
    names_of_word: Mapping[int, Sequence[int]],
    absent: int,
    max_tokens: int,
    length: int = MATCHED,
) -> Batch:
    """Rows of names of different words, then words, each answered with its name or, where the list has none, with `absent`."""
    row_length = 3 * length
    rows = max(1, max_tokens // row_length)
    tokens = np.zeros((rows, row_length), np.int64)
    roles = np.zeros((rows, row_length), np.uint8)
    roles[:, length + 1 :: 2] = REPLY
    words = list(names_of_word)
    for row in range(rows):
        listed = rng.sample(words, length)
        others = rng.sample(words, length)
        held = {word: rng.choice(names_of_word[word]) for word in listed}
        asked = [rng.choice((a, b)) for a, b in zip(rng.sample(listed, length), others, strict=True)]
        tokens[row, :length] = [held[word] for word in listed]
        tokens[row, length::2] = asked
        tokens[row, length + 1 :: 2] = [held.get(word, absent) for word in asked]
    return Batch(tokens=tokens, roles=roles)


def name_drill(rng: random.Random, names: list[int], max_tokens: int, length: int = 24) -> Batch:
    """Rows of random names, said twice; the second time carries the loss."""
    rows = max(1, max_tokens // (2 * length))
    tokens = np.zeros((rows, 2 * length), np.int64)
    for row in range(rows):
        said = rng.sample(names, length)
        tokens[row] = said + said
    roles = np.zeros((rows, 2 * length), np.uint8)
    roles[:, length:] = REPLY
    return Batch(tokens=tokens, roles=roles)
