"""Writes the tokenizer and the shards of demonstrations that a pocket model is trained on; seeded, shard by shard."""

import logging
import random
from functools import partial
from pathlib import Path

from distill.pocket.episodes import MessageEncoder, make_shard
from distill.pocket.lessons import Lessons
from distill.pocket.tokenizer import build_tokenizer

log = logging.getLogger(__name__)


def write_tokenizer(folder: Path, lessons: Lessons, *, seed: int = 0) -> None:
    rng = random.Random(f"tokenizer-{seed}")
    texts = lessons.texts(rng)
    frames = [lessons.agent.prompt, f"\n\n{lessons.agent.hint_header}"]
    build_tokenizer(folder, lessons.vocabulary, frames=frames, words=lessons.words(rng), texts=texts)


def write_shards(
    folder: Path, tokenizer: Path, lessons: Lessons, *, seed: int, num_shards: int, episodes_per_shard: int
) -> None:
    """`train-000.npz` and on; those that exist are kept, each depends on the seed and its own number alone."""
    from tokenizers import Tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "num_shards").write_text(f"{num_shards}\n")
    encoder = MessageEncoder(Tokenizer.from_file(str(tokenizer / "tokenizer.json")))
    for number in range(num_shards):
        path = folder / f"train-{number:03d}.npz"
        if path.is_file():
            continue
        rng = random.Random(f"shard-{seed}-{number}")
        shard = make_shard(
            partial(lessons.draw, rng, number), encoder, episodes_per_shard, lessons.max_tokens
        )
        shard.save(path)
        log.info("%s: %d episodes, %d tokens", path.name, episodes_per_shard, len(shard.tokens))
