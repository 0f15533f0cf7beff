"""Demonstrations as token sequences: games, habits, advice, the agent's own rendering, and which tokens carry loss.

Knows nothing of networks or optimisers.
"""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actors.agents.base import Agent
from actors.chat import Message
from actors.trajectory import GivenHint
from distill.pocket.advice import draw_advice
from distill.pocket.demonstrator import Demonstration, demonstrate, rough_step_limit
from distill.pocket.habits import HABIT_OF_KIND, Habit, draw_habits
from envs.alfworld.game import KINDS, Game
from envs.alfworld.generate import Rooms, make_game
from envs.task import Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NO_LOSS, REPLY, ECHO = 0, 1, 2
"""What a token is to the loss: none, the assistant's own, a name that an observation repeats."""
MAX_TOKENS = 1024
_ECHO_REACH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MixConfig:
    """What the training episodes are made of."""

    no_advice: float = 0.35
    """Share of episodes without any hint; the rest have 1 to 3 in equal parts."""
    large_rooms: float = 0.04
    """Share of rooms of full size; their episodes are three to four times as long."""
    crowded_rooms: float = 0.35
    """Share of rooms of few places full of things: taking the right one is most of what is learnt there."""
    drills: float = 0.3
    """Share of episodes that stop after the first thought."""
    noise: float = 0.01
    """Share of words of the advice that are replaced by others, so that no single word is relied upon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One demonstration as the agent would render it."""

    messages: tuple[Message, ...]
    slips: frozenset[int] = frozenset()
    """Replies, counted from 0, that are read and not learnt."""


def draw_episode(rng: random.Random, agent: Agent, mix: MixConfig) -> Episode:
    if rng.random() < mix.drills:
        return draw_drill(rng, agent, mix)
    rooms = rng.choices(_ROOMS, _weights(mix))[0]
    game = make_game(rng, rooms=rooms).game
    advice, habits = _draw_advised(rng, game, mix)
    shown = demonstrate(game, habits, max_steps=rough_step_limit(rng, len(game.receptacles)), slips=rng)
    return Episode(messages=render(agent, game, shown, advice), slips=shown.slips)


_ROOMS: tuple[Rooms, ...] = ("full", "crowded", "small")


def _weights(mix: MixConfig) -> tuple[float, float, float]:
    return mix.large_rooms, mix.crowded_rooms, 1 - mix.large_rooms - mix.crowded_rooms


_KINDS_WITH_A_HABIT = [kind for kind in KINDS if HABIT_OF_KIND[kind]]
"""A habit of one kind is seen in a sixth of all episodes: drills make up for it."""


def draw_drill(rng: random.Random, agent: Agent, mix: MixConfig) -> Episode:
    """The beginning of an episode up to its first thought, which says the plan: what advice changes is nearly all that is learnt from it.
    The odds of each habit are those of whole episodes."""
    game = make_game(rng, rooms="small", kind=rng.choice(_KINDS_WITH_A_HABIT)).game
    advice, habits = _draw_advised(rng, game, mix, planned=0.6)
    shown = demonstrate(game, habits, max_steps=1)
    return Episode(messages=render(agent, game, replace(shown, turns=shown.turns[:1]), advice))


def _draw_advised(
    rng: random.Random, game: Game, mix: MixConfig, planned: float = 0.0
) -> tuple[list[str], frozenset[Habit]]:
    """The hints of a prompt and the habits they lead to; `planned` is the least share of hints on what the first thought says."""
    own = HABIT_OF_KIND[game.kind]
    shown = [Habit.OPEN_CONTAINERS, Habit.TAKE_NAMED, *([own, own] if own else [])]
    count = 0 if rng.random() < mix.no_advice else rng.randint(1, 3)
    advice = [
        draw_advice(rng, game.kind, habit=rng.choice(shown) if rng.random() < planned else None)
        for _ in range(count)
    ]
    habits = draw_habits(rng, game.goal.object_type, {a.habit for a in advice if a.habit})
    return [with_noise(rng, a.text, mix.noise) for a in advice], habits


def render(agent: Agent, game: Game, shown: Demonstration, hints: Sequence[str]) -> tuple[Message, ...]:
    given = [GivenHint(id=str(n), text=text) for n, text in enumerate(hints)]
    messages = agent.render(task_of(game), shown.opening, shown.turns, given)
    return messages[:-1]  # the last observation is answered by nobody


def task_of(game: Game) -> Task:
    split = "train" if game.path.startswith("train/") else "test"
    return Task(env="alfworld", split=split, id=game.path, kind=game.kind, goal=game.task)


_OTHER_WORDS = (
    "carefully often then while thing where also once everything later other same next step task"
    " keep try it the a of to in with for and or when if before after first again only not still"
).split()


def with_noise(rng: random.Random, text: str, share: float) -> str:
    words = text.split(" ")
    return " ".join(
        rng.choice(_OTHER_WORDS) if not w.startswith("{") and rng.random() < share else w for w in words
    )


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
    rng: random.Random, agent: Agent, encoder: MessageEncoder, mix: MixConfig, num_episodes: int
) -> Shard:
    tokens: list[int] = []
    roles: list[int] = []
    starts = [0]
    while len(starts) <= num_episodes:
        episode = draw_episode(rng, agent, mix)
        ids, kinds = encoder.chat(episode.messages, episode.slips)
        if len(ids) > MAX_TOKENS:
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
