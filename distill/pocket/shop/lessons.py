"""What the pocket shopper is taught: made-up shops, habits and advice, drawn together. Knows no tokens."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from actors.agents.prompted import PromptedAgent, load_agent
from actors.chat import Message
from actors.config import AgentConfig
from actors.trajectory import GivenHint
from distill.examples.shop import ShopState
from distill.pocket.demonstrator import Demonstration
from distill.pocket.episodes import MAX_TOKENS, Episode
from distill.pocket.evaluate import Advise, Course
from distill.pocket.lessons import AgentName
from distill.pocket.phrases import with_noise
from distill.pocket.shop.advice import common_words, draw_advice, phrase
from distill.pocket.shop.demonstrator import RESULTS_SHOWN, demonstrate, noun_of
from distill.pocket.shop.habits import ShopHabit, draw_habits
from distill.pocket.shop.vocabulary import SHOP, SHOP_STATEACT
from distill.pocket.stateact import restate
from envs.base import StepResult
from envs.config import ShopConfig, WebshopConfig
from envs.registry import generate, list_tasks, open_env
from envs.task import Task
from envs.webshop.catalogue import Catalogue
from envs.webshop.goals import Goal

SHOPS = 24
"""Shops that demonstrations are drawn from; each has products of its own."""
PRODUCTS, GOALS = 500, 700
_FIRST_SEED = 10_000
"""Seeds of the shops that are trained on; others are for studies and tests."""
_READING_SHARDS = 3
"""First shards, nearly all drills: reading advice is learnt early and cheaply."""
_MAX_STEPS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopMix:
    """What the training episodes are made of."""

    no_advice: float = 0.35
    """Share of episodes without any hint; the rest have 1 to 3 in equal parts."""
    drills: float = 0.25
    """Share of episodes that stop after the first thought."""
    noise: float = 0.01
    """Share of words of the advice that are replaced by others."""


class ShopLessons:
    """See `distill.pocket.lessons.Lessons`. `folder` holds the shops, or will; StateAct is taught to who reads already."""

    max_tokens = MAX_TOKENS

    def __init__(self, folder: Path, *, shops: int = SHOPS, agent: AgentName = "react"):
        self.folder, self.shops = folder, shops
        self.agent: PromptedAgent = load_agent(AgentConfig(name=agent, prompt="brief"), "webshop")
        self.vocabulary = SHOP_STATEACT if agent == "stateact" else SHOP
        self.reading_shards = 0 if agent == "stateact" else _READING_SHARDS

    def prepare(self) -> None:
        """Make the shops that are not there yet."""
        for number in range(self.shops):
            place = self._place(number)
            if not place.is_dir():
                made = ShopConfig(products=PRODUCTS, train=GOALS, test=1, seed=_FIRST_SEED + number)
                generate(made, WebshopConfig(), place)

    def texts(self, rng: random.Random) -> list[str]:
        return [phrase(rng, habit) for habit in ShopHabit for _ in range(300)]

    def words(self, rng: random.Random) -> set[str]:
        return common_words(rng)

    def draw(self, rng: random.Random, shard: int) -> Episode:
        mix = ShopMix(drills=0.9) if shard < self.reading_shards else ShopMix()
        shop = rng.choice(self._shops)
        goals = shop.goals("human")
        goal = goals[rng.randrange(len(goals))]
        count = 0 if rng.random() < mix.no_advice else rng.randint(1, 3)
        advice = [draw_advice(rng) for _ in range(count)]
        habits = draw_habits(rng, noun_of(goal.text), {a.habit for a in advice if a.habit})
        drill = rng.random() < mix.drills
        shown = as_told(
            self.agent, goal, demonstrate(shop, goal, habits, max_steps=1 if drill else _MAX_STEPS)
        )
        if drill:
            shown = replace(shown, turns=shown.turns[:1])
        return Episode(
            messages=_render(self.agent, shown, [with_noise(rng, a.text, mix.noise) for a in advice])
        )

    @cached_property
    def _shops(self) -> Sequence[Catalogue]:
        return [Catalogue(self._place(number)) for number in range(self.shops)]

    def _place(self, number: int) -> Path:
        return self.folder / f"shop-{number:02d}"


_NO_TASK = Task(env="webshop", split="train", id="", kind="", goal="")
"""A chat without examples says nothing of a task that its opening does not."""


def as_told(agent: PromptedAgent, goal: Goal, shown: Demonstration) -> Demonstration:
    """A demonstration, which speaks as ReAct does, in the agent's own way."""
    return shown if agent.kind == "react" else restate(shown, noun_of(goal.text), ShopState(), agent.grammar)


def _render(agent: PromptedAgent, shown: Demonstration, hints: Sequence[str]) -> tuple[Message, ...]:
    given = [GivenHint(id=str(n), text=text) for n, text in enumerate(hints)]
    return agent.render(_NO_TASK, shown.opening, shown.turns, given)[:-1]


@dataclass(frozen=True, slots=True)
class Purchase:
    """An unseen one, to be made: see `distill.pocket.evaluate.Exercise`."""

    task: Task
    env: WebshopConfig

    def start(self) -> tuple[str, Callable[[str], StepResult]]:
        shop = open_env(self.env)
        return shop.reset(self.task, seed=0).observation, shop.step


def unseen(folder: Path, seed: int, number: int) -> list[Purchase]:
    """Goals of a shop that no demonstration was drawn from, made in `folder`."""
    place = folder / f"unseen-{seed}-{number}"
    env = WebshopConfig(catalogue=str(place), results_shown=RESULTS_SHOWN)
    if not place.is_dir():
        generate(ShopConfig(products=PRODUCTS, train=1, test=number, seed=seed), env, place)
    return [Purchase(task, env) for task in list_tasks(env, "test")]


def _no_advice(rng: random.Random, kind: str) -> list[str]:
    return []


def _fitting(rng: random.Random, kind: str, *, untrained: bool = False) -> list[str]:
    return [phrase(rng, habit, untrained=untrained) for habit in ShopHabit]


def _fitting_in_other_words(rng: random.Random, kind: str) -> list[str]:
    return _fitting(rng, kind, untrained=True)


def _idle(rng: random.Random, kind: str) -> list[str]:
    return [phrase(rng, None) for _ in range(3)]


ARMS: Mapping[str, Advise] = {
    "base": _no_advice,
    "fitting": _fitting,
    "fitting, untrained wording": _fitting_in_other_words,
    "idle": _idle,
}


def course(agent: AgentName = "react") -> Course:
    return Course(
        agent=load_agent(AgentConfig(name=agent, prompt="brief"), "webshop"), arms=ARMS, watched="click["
    )
