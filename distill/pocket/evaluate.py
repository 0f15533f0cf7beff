"""Plays unseen tasks with a pocket model and counts: success, right commands of one kind, commands without effect.

A quick look during development and for the model card; the study's table comes from the pipeline. Knows neither environments nor training.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from actors.agents.base import Agent
from actors.trajectory import GivenHint, Turn
from distill.pocket.episodes import MessageEncoder
from envs.base import StepResult
from envs.task import Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from distill.pocket.network import PocketNetwork

MAX_REPLY = 96
"""Tokens; a thought or a command has up to twenty, a reply of StateAct up to eighty."""


class Exercise(Protocol):
    """One unseen task, ready to be played any number of times."""

    @property
    def task(self) -> Task: ...

    def start(self) -> tuple[str, Callable[[str], StepResult]]:
        """The opening, and what answers a command from there."""
        ...


Advise = Callable[[random.Random, str], list[str]]
"""Hints for a task of a kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How one environment's pocket model is looked at."""

    agent: Agent
    arms: Mapping[str, Advise]
    watched: str
    """The beginning of a command that takes reading, such as `take `."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    arm: str
    num_games: int
    successes: int
    watched: str
    watched_said: int
    """Commands that begin so."""
    watched_right: int
    """Those that the world allowed."""
    steps: int
    nothing_happens: int
    tokens: int
    by_kind: tuple[tuple[str, int, int], ...]
    """(kind, successes, games)"""

    @property
    def success_rate(self) -> float:
        return self.successes / self.num_games

    def line(self) -> str:
        low, high = wilson(self.successes, self.num_games)
        kinds = " ".join(f"{_short(kind)} {won}/{n}" for kind, won, n in self.by_kind)
        return (
            f"{self.arm:28s} {100 * self.success_rate:5.1f} % ({100 * low:.1f}-{100 * high:.1f})  {self.watched}"
            f" {100 * self.watched_right / max(1, self.watched_said):5.1f} % right  nothing happens {self.nothing_happens / self.num_games:.2f}"
            f"  steps {self.steps / self.num_games:.1f}  tokens {self.tokens / self.num_games:.0f}  [{kinds}]"
        )


def _short(kind: str) -> str:
    """`pick_heat_then_place_in_recep` is told by its second word."""
    words = kind.split("_")
    return words[min(1, len(words) - 1)][:5]


def wilson(successes: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share."""
    if not total:
        return 0.0, 1.0
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5 / (1 + z * z / total)
    return centre - half, centre + half


def evaluate(
    folder: Path,
    course: Course,
    exercises: Sequence[Exercise],
    arm: str,
    *,
    max_steps: int = 30,
    seed: int = 0,
    batch: int = 100,
) -> ArmResult:
    """Greedy play of all exercises under one way of advising."""
    play, advise = _loaded(folder), course.arms[arm]
    rng = random.Random(f"advice-{seed}-{arm}")
    players: list[_Player] = []
    for begin in range(0, len(exercises), batch):
        group = [
            _Player(course.agent, one, advise(rng, one.task.kind), max_steps)
            for one in exercises[begin : begin + batch]
        ]
        play(group)
        players += group
    kinds = sorted({p.kind for p in players})
    watched = [t.valid for p in players for t in p.turns if (t.action or "").startswith(course.watched)]
    return ArmResult(
        arm=arm,
        num_games=len(players),
        successes=sum(p.success for p in players),
        watched=course.watched.strip(),
        watched_said=len(watched),
        watched_right=sum(watched),
        steps=sum(p.steps for p in players),
        nothing_happens=sum(not t.valid for p in players for t in p.turns),
        tokens=sum(p.tokens for p in players),
        by_kind=tuple(
            (
                k,
                sum(p.success for p in players if p.kind == k),
                sum(p.kind == k for p in players),
            )
            for k in kinds
        ),
    )


def first_thoughts(
    folder: Path, agent: Agent, exercises: Sequence[Exercise], hints: Sequence[list[str]]
) -> list[str]:
    """The first reply in each exercise, greedy; `hints[i]` stands in the prompt of exercise i."""
    players = [_Player(agent, one, given, 0) for one, given in zip(exercises, hints, strict=True)]
    _loaded(folder)(players)
    return [player.turns[0].reply for player in players]


def _loaded(folder: Path) -> Callable[[list["_Player"]], None]:
    from tokenizers import Tokenizer

    from distill.pocket.network import load_network

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return partial(_play, load_network(folder), tokenizer, MessageEncoder(tokenizer))


class _Player:
    def __init__(self, agent: Agent, exercise: Exercise, hints: list[str], max_steps: int):
        self.agent, self.max_steps, self.kind = agent, max_steps, exercise.task.kind
        self.turns: list[Turn] = []
        given = [GivenHint(id=str(n), text=text) for n, text in enumerate(hints)]
        opening, self.step = exercise.start()
        self.opening = agent.render(exercise.task, opening, (), given)
        self.steps = self.tokens = 0
        self.done = self.success = False

    @property
    def finished(self) -> bool:
        last = [t.reply for t in self.turns[-5:]]
        stuck = len(last) == 5 and len(set(last)) == 1
        return self.done or self.steps >= self.max_steps or stuck or len(self.turns) > 2 * self.max_steps

    def answer(self, reply: str) -> str:
        parsed = self.agent.parse(reply)
        observation, valid = parsed.answer or "", True
        if parsed.action is not None:
            after = self.step(parsed.action)
            observation, valid = after.observation, after.valid
            self.done, self.success = after.done, after.success
            self.steps += 1
        self.turns.append(
            Turn(reply=parsed.reply, action=parsed.action, observation=observation, valid=valid)
        )
        return observation


def _play(
    network: "PocketNetwork",
    tokenizer: "Tokenizer",
    encoder: MessageEncoder,
    players: list["_Player"],
    max_reply: int = MAX_REPLY,
) -> None:
    from distill.pocket.network import Decoder
    from distill.pocket.tokenizer import END

    decoder = Decoder(network, len(players))
    end, user, assistant = (
        tokenizer.token_to_id(t) for t in (END, "\n<|im_start|>user\n", "\n<|im_start|>assistant\n")
    )
    waiting = {row: [*encoder.chat(p.opening)[0], assistant] for row, p in enumerate(players)}
    while waiting:
        rows = sorted(waiting)
        replies: dict[int, list[int]] = {row: [] for row in rows}
        pieces = [waiting[row] for row in rows]
        for row, piece in zip(rows, pieces, strict=True):
            players[row].tokens += len(piece)
        writing = rows
        for _ in range(max_reply):
            logits = decoder.extend(writing, pieces)
            chosen = logits.argmax(-1).tolist()
            for row, token in zip(writing, chosen, strict=True):
                replies[row].append(token)
            writing = [row for row, token in zip(writing, chosen, strict=True) if token != end]
            pieces = [[replies[row][-1]] for row in writing]
            if not writing:
                break
        waiting = {}
        for row in rows:
            said = replies[row]
            closing = [said[-1]] if said[-1] == end else [said[-1], end]
            players[row].tokens += len(said)
            observation = players[row].answer(tokenizer.decode([t for t in said if t != end]))
            if not players[row].finished and decoder.lengths[row] < decoder.max_length - 200:
                waiting[row] = [*closing, user, *encoder.text(observation), end, assistant]
