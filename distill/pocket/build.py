"""The pocket model from nothing in one call: tokenizer, demonstrations beside the training, and its table."""

import logging
import multiprocessing
import os
import shutil
from pathlib import Path

from distill.pocket.corpus import write_shards, write_tokenizer

log = logging.getLogger(__name__)

_SHARDS = 130
"""More than an hour of an idle machine uses; they are written while the training reads them."""
_EPISODES_PER_SHARD = 2500


def build(out: Path, *, minutes: float, seed: int) -> None:
    """Everything but the table; goes on where an earlier call into the same folder stopped."""
    from distill.pocket.pretrain import PretrainConfig, train

    tokenizer, shards = out / "tokenizer", out / "shards"
    if not (tokenizer / "tokenizer.json").is_file():
        write_tokenizer(tokenizer, seed=seed)
    writer = multiprocessing.get_context("spawn").Process(
        target=_write_shards, args=(shards, tokenizer, seed), daemon=True
    )
    shards.mkdir(parents=True, exist_ok=True)
    (shards / "num_shards").write_text(f"{_SHARDS}\n")
    writer.start()
    train(PretrainConfig(minutes=minutes, seed=seed), shards, tokenizer, out / "training")
    writer.terminate()
    writer.join()
    assemble(out / "training" / "final", tokenizer, out / "model")
    log.info("the model is in %s", out / "model")


def assemble(weights: Path, tokenizer: Path, folder: Path) -> None:
    """One folder that transformers and vLLM load."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*weights.iterdir(), *tokenizer.iterdir()):
        target = folder / file.name
        shutil.copyfile(file, target)
        target.chmod(0o644)


def print_table(model: Path, *, games: int, seed: int) -> None:
    """Greedy play of unseen households of each size under each way of advising."""
    from distill.pocket.evaluate import ARMS, evaluate, unseen_games

    if not (model / "model.safetensors").is_file():
        raise SystemExit(f"{model} holds no pocket model; make one with `make pocket`")
    for rooms, max_steps, number in (("small", 30, games), ("full", 50, games // 2)):
        households = unseen_games(seed, number, rooms)  # type: ignore[arg-type]
        print(f"{number} unseen households, {rooms} rooms, at most {max_steps} steps, greedy")
        for arm in ARMS:
            print("  " + evaluate(model, households, arm, max_steps=max_steps, seed=seed).line(), flush=True)


def _write_shards(shards: Path, tokenizer: Path, seed: int) -> None:
    os.nice(19)  # The training waits for the first shard only.
    write_shards(shards, tokenizer, seed=seed, num_shards=_SHARDS, episodes_per_shard=_EPISODES_PER_SHARD)
