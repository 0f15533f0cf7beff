"""What a pocket model is taught: the seam between environments and training. Knows neither."""

import random
from typing import Literal, Protocol

from actors.agents.prompted import PromptedAgent
from distill.pocket.episodes import Episode
from distill.pocket.vocabulary import Vocabulary

AgentName = Literal["react", "stateact"]


class Lessons(Protocol):
    """One environment's demonstrations and words. It is pickled into the process that writes shards."""

    vocabulary: Vocabulary
    agent: PromptedAgent
    """Whose format the model speaks."""
    max_tokens: int
    """Longer episodes are left out."""

    def texts(self, rng: random.Random) -> list[str]:
        """Running text from which the pieces of unknown words are learnt."""
        ...

    def words(self, rng: random.Random) -> set[str]:
        """Words, with their leading blanks if any, that get a token each."""
        ...

    def draw(self, rng: random.Random, shard: int) -> Episode:
        """One demonstration for a shard of this number; early shards may be easier."""
        ...
