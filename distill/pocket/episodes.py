"""Demonstrations as token sequences, and which tokens carry loss.

Knows neither environments nor networks nor optimisers.
"""

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actors.chat import Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NO_LOSS, REPLY, ECHO = 0, 1, 2
"""What a token is to the loss: none, the assistant's own, a name that an observation repeats."""
MAX_TOKENS = 1024
"""Of an episode that is learnt, unless lessons say otherwise."""
_ECHO_REACH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One demonstration as the agent would render it."""

    messages: tuple[Message, ...]
    slips: frozenset[int] = frozenset()
    """Replies, counted from 0, that are read and not learnt."""


class MessageEncoder:
    """Encodes chats message by message; what is common is encoded once."""

    def __init__(self, tokenizer: "Tokenizer"):
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._frame = {
            role: tokenizer.token_to_id(f"{start}<|im_start|>{role}\n")
            for role, start in (("system", ""), ("user", "\n"), ("assistant", "\n"))
        }
        self._end = tokenizer.token_to_id("<|im_end|>")
        self._names = frozenset(
            i for token, i in tokenizer.get_vocab().items() if token[-1].isdigit() and "Ġ" in token[1:]
        )

    def text(self, text: str) -> list[int]:
        known = self._known.get(text)
        if known is None:
            known = self._tokenizer.encode(text, add_special_tokens=False).ids
            if len(self._known) < 500_000:
                self._known[text] = known
        return known

    def chat(self, messages: Sequence[Message], slips: Collection[int] = ()) -> tuple[list[int], list[int]]:
        """Token ids, and for each what it is to the loss; `slips` are replies without any."""
        replies = 0
        ids: list[int] = []
        roles: list[int] = []
        for number, message in enumerate(messages):
            body = [*self.text(message.content), self._end]
            ids.append(self._frame[message.role])
            roles.append(NO_LOSS)
            if message.role == "assistant":
                roles += [NO_LOSS if replies in slips else REPLY] * len(body)
                replies += 1
            elif message.role == "user" and number > 1:
                recent = (ids + body)[max(0, len(ids) - _ECHO_REACH) :]
                start = len(recent) - len(body)
                roles += [
                    ECHO if token in self._names and token in recent[: start + i] else NO_LOSS
                    for i, token in enumerate(body)
                ]
            else:
                roles += [NO_LOSS] * len(body)
            ids += body
        return ids, roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Episodes end to end."""

    tokens: np.ndarray  # [num_tokens] uint16
    roles: np.ndarray  # [num_tokens] uint8
    starts: np.ndarray  # [num_episodes + 1] int64

    def save(self, path: Path) -> None:
        part = path.with_suffix(".part.npz")
        np.savez(part, tokens=self.tokens, roles=self.roles, starts=self.starts)
        part.rename(path)

    @classmethod
    def load(cls, path: Path) -> "Shard":
        with np.load(path) as arrays:
            return cls(tokens=arrays["tokens"], roles=arrays["roles"], starts=arrays["starts"])


def make_shard(
    draw: Callable[[], Episode], encoder: MessageEncoder, num_episodes: int, max_tokens: int = MAX_TOKENS
) -> Shard:
    """So many episodes of those drawn; too long ones are left out."""
    tokens: list[int] = []
    roles: list[int] = []
    starts = [0]
    while len(starts) <= num_episodes:
        episode = draw()
        ids, kinds = encoder.chat(episode.messages, episode.slips)
        if len(ids) > max_tokens:
            continue
        tokens += ids
        roles += kinds
        starts.append(len(tokens))
    return Shard(
        tokens=np.array(tokens, np.uint16), roles=np.array(roles, np.uint8), starts=np.array(starts, np.int64)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    tokens: np.ndarray  # [batch, length] int64, padded at the end
    roles: np.ndarray  # [batch, length] uint8


def batches(
    shard: Shard, rng: random.Random, max_tokens: int, pad: int, *, divisor: int = 1
) -> Iterator[Batch]:
    """Episodes of like length together, in random order of batches; the number of rows is a multiple of `divisor`."""
    lengths = np.diff(shard.starts)
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i] + rng.randint(0, 12), rng.random()))
    groups: list[list[int]] = []
    group: list[int] = []
    longest = 0
    for episode in order:
        grown = max(longest, int(lengths[episode]))
        if group and len(group) % divisor == 0 and grown * (len(group) + divisor) > max_tokens:
            groups.append(group)
            group, grown = [], int(lengths[episode])
        group.append(episode)
        longest = grown
    if len(group) % divisor == 0 and group:
        groups.append(group)
    rng.shuffle(groups)
    for members in groups:
        length = max(int(lengths[i]) for i in members)
        tokens = np.full((len(members), length), pad, np.int64)
        roles = np.zeros((len(members), length), np.uint8)
        for row, i in enumerate(members):
            begin, end = shard.starts[i], shard.starts[i + 1]
            tokens[row, : end - begin] = shard.tokens[begin:end]
            roles[row, : end - begin] = shard.roles[begin:end]
        yield Batch(tokens=tokens, roles=roles)
