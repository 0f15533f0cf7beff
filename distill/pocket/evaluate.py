"""Plays unseen generated households with the pocket model and counts: success, right takes, commands without effect.

A quick look during development and for the model card; the study's table comes from the pipeline. Knows nothing of training.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from actors.agents.base import Agent
from actors.trajectory import GivenHint, Turn
from distill.pocket.advice import phrase
from distill.pocket.corpus import load_agent
from distill.pocket.episodes import MessageEncoder, task_of
from distill.pocket.habits import HABIT_OF_KIND, Habit, habits_of_kind
from envs.alfworld.game import Game
from envs.alfworld.generate import Rooms, make_game
from envs.alfworld.world import BANNER, World

Advise = Callable[[random.Random, Game], list[str]]


def no_advice(rng: random.Random, game: Game) -> list[str]:
    return []


def fitting_advice(rng: random.Random, game: Game, *, untrained: bool = False) -> list[str]:
    """Three habits that bear on the kind, its own among them."""
    own = HABIT_OF_KIND[game.kind]
    main = [h for h in (own, Habit.OPEN_CONTAINERS, Habit.TAKE_NAMED) if h]
    others = [h for h in habits_of_kind(game.kind) if h not in main]
    chosen = [*main, *rng.sample(others, 2)][:3]
    return [phrase(rng, h, untrained=untrained) for h in chosen]


def fitting_advice_in_other_words(rng: random.Random, game: Game) -> list[str]:
    return fitting_advice(rng, game, untrained=True)


def random_fitting_advice(rng: random.Random, game: Game) -> list[str]:
    return [phrase(rng, h) for h in rng.sample(habits_of_kind(game.kind), 3)]


def idle_advice(rng: random.Random, game: Game) -> list[str]:
    """Three pieces of advice that do not bear on the kind."""
    own = HABIT_OF_KIND[game.kind]
    others = [h for h in HABIT_OF_KIND.values() if h and h != own]
    return [phrase(rng, h) for h in rng.sample([*others, None], 3)]


ARMS: dict[str, Advise] = {
    "base": no_advice,
    "fitting": fitting_advice,
    "fitting, untrained wording": fitting_advice_in_other_words,
    "random fitting": random_fitting_advice,
    "idle": idle_advice,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    arm: str
    num_games: int
    successes: int
    takes: int
    """`take` commands said."""
    right_takes: int
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
        kinds = " ".join(f"{kind.split('_')[1][:5]} {won}/{n}" for kind, won, n in self.by_kind)
        return (
            f"{self.arm:28s} {100 * self.success_rate:5.1f} % ({100 * low:.1f}-{100 * high:.1f})  takes"
            f" {100 * self.right_takes / max(1, self.takes):5.1f} %  nothing happens {self.nothing_happens / self.num_games:.2f}"
            f"  steps {self.steps / self.num_games:.1f}  tokens {self.tokens / self.num_games:.0f}  [{kinds}]"
        )


def wilson(successes: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share."""
    if not total:
        return 0.0, 1.0
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5 / (1 + z * z / total)
    return centre - half, centre + half


def unseen_games(seed: int, num_games: int, rooms: Rooms = "small") -> list[Game]:
    rng = random.Random(f"evaluation-{seed}")
    return [make_game(rng, rooms=rooms, side="test").game for _ in range(num_games)]


def evaluate(
    folder: Path, games: Sequence[Game], arm: str, *, max_steps: int = 30, seed: int = 0, batch: int = 100
) -> ArmResult:
    """Greedy play of all games under one way of advising."""
    agent, play = load_agent(), _loaded(folder)
    rng = random.Random(f"advice-{seed}-{arm}")
    players: list[_Player] = []
    for begin in range(0, len(games), batch):
        group = [
            _Player(agent, game, ARMS[arm](rng, game), max_steps) for game in games[begin : begin + batch]
        ]
        play(group)
        players += group
    kinds = sorted({p.game.kind for p in players})
    return ArmResult(
        arm=arm,
        num_games=len(players),
        successes=sum(p.world.done for p in players),
        takes=sum(t.reply.startswith("take ") for p in players for t in p.turns),
        right_takes=sum(t.reply.startswith("take ") and t.valid for p in players for t in p.turns),
        steps=sum(p.steps for p in players),
        nothing_happens=sum(not t.valid for p in players for t in p.turns),
        tokens=sum(p.tokens for p in players),
        by_kind=tuple(
            (
                k,
                sum(p.world.done for p in players if p.game.kind == k),
                sum(p.game.kind == k for p in players),
            )
            for k in kinds
        ),
    )


def first_thoughts(folder: Path, games: Sequence[Game], hints: Sequence[list[str]]) -> list[str]:
    """The first reply in each game, greedy; `hints[i]` stands in the prompt of game i."""
    agent = load_agent()
    players = [_Player(agent, game, given, 0) for game, given in zip(games, hints, strict=True)]
    _loaded(folder)(players)
    return [player.turns[0].reply for player in players]


def _loaded(folder: Path) -> Callable[[list["_Player"]], None]:
    from tokenizers import Tokenizer

    from distill.pocket.network import load_network

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return partial(_play, load_network(folder), tokenizer, MessageEncoder(tokenizer))


class _Player:
    def __init__(self, agent: Agent, game: Game, hints: list[str], max_steps: int):
        self.game, self.world, self.agent, self.max_steps = game, World(game), agent, max_steps
        self.turns: list[Turn] = []
        given = [GivenHint(id=str(n), text=text) for n, text in enumerate(hints)]
        self.opening = agent.render(task_of(game), self.world.reset().removeprefix(BANNER), (), given)
        self.steps = self.tokens = 0

    @property
    def finished(self) -> bool:
        last = [t.reply for t in self.turns[-5:]]
        stuck = len(last) == 5 and len(set(last)) == 1
        return (
            self.world.done or self.steps >= self.max_steps or stuck or len(self.turns) > 2 * self.max_steps
        )

    def answer(self, reply: str) -> str:
        parsed = self.agent.parse(reply)
        if parsed.action is None:
            observation, valid = parsed.answer or "", True
        else:
            observation, valid = self.world.step(parsed.action), self.world.valid
            self.steps += 1
        self.turns.append(
            Turn(reply=parsed.reply, action=parsed.action, observation=observation, valid=valid)
        )
        return observation


def _play(network, tokenizer, encoder: MessageEncoder, players: list[_Player], max_reply: int = 24) -> None:  # type: ignore[no-untyped-def]
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
