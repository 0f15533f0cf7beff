"""Writes the tokenizer and the shards of demonstrations that the pocket model is trained on; seeded, shard by shard."""

import logging
import random
from pathlib import Path

from actors.agents.react import ReactAgent, load_react
from distill.pocket.advice import common_words, phrase
from distill.pocket.episodes import MessageEncoder, MixConfig, make_shard
from distill.pocket.habits import Habit
from distill.pocket.tokenizer import build_tokenizer

log = logging.getLogger(__name__)

_READING_SHARDS = 18
"""First shards, nearly all drills: reading advice is learnt early and cheaply, playing comes after."""
_READING = MixConfig(drills=0.95)


def mix_of_shard(number: int) -> MixConfig:
    return _READING if number < _READING_SHARDS else MixConfig()


def load_agent() -> ReactAgent:
    """The agent whose format the pocket model speaks."""
    return load_react("alfworld", "brief")


def write_tokenizer(folder: Path, *, seed: int = 0) -> None:
    rng = random.Random(f"tokenizer-{seed}")
    agent = load_agent()
    texts = [phrase(rng, habit) for habit in Habit for _ in range(300)]
    frames = [agent.prompt, f"\n\n{agent.hint_header}"]
    build_tokenizer(folder, frames=frames, words=common_words(rng), texts=texts)


def write_shards(
    folder: Path,
    tokenizer: Path,
    *,
    seed: int,
    num_shards: int,
    episodes_per_shard: int,
    mix: MixConfig | None = None,
) -> None:
    """`train-000.npz` and on; those that exist are kept, each depends on the seed and its own number alone."""
    from tokenizers import Tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "num_shards").write_text(f"{num_shards}\n")
    agent = load_agent()
    encoder = MessageEncoder(Tokenizer.from_file(str(tokenizer / "tokenizer.json")))
    for number in range(num_shards):
        path = folder / f"train-{number:03d}.npz"
        if path.is_file():
            continue
        rng = random.Random(f"shard-{seed}-{number}")
        shard = make_shard(rng, agent, encoder, mix or mix_of_shard(number), episodes_per_shard)
        shard.save(path)
        log.info("%s: %d episodes, %d tokens", path.name, episodes_per_shard, len(shard.tokens))
