"""What the pocket model is taught of ALFWorld: households, habits and advice, drawn together. Knows no tokens."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from actors.agents.base import Agent
from actors.agents.prompted import PromptedAgent, load_agent
from actors.chat import Message
from actors.config import AgentConfig
from actors.trajectory import GivenHint
from distill.examples.household import HouseholdState
from distill.pocket.advice import common_words, draw_advice, phrase
from distill.pocket.demonstrator import Demonstration, demonstrate, rough_step_limit
from distill.pocket.episodes import MAX_TOKENS, Episode
from distill.pocket.evaluate import Advise, Course
from distill.pocket.habits import HABIT_OF_KIND, Habit, draw_habits, habits_of_kind
from distill.pocket.lessons import AgentName
from distill.pocket.phrases import with_noise
from distill.pocket.stateact import restate
from distill.pocket.vocabulary import HOUSEHOLDS, HOUSEHOLDS_STATEACT
from envs.alfworld.game import KINDS, Game
from envs.alfworld.generate import Rooms, make_game
from envs.alfworld.world import BANNER, World
from envs.base import StepResult
from envs.task import Task


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


_READING = MixConfig(drills=0.95)
_READING_SHARDS = 9
"""First shards, nearly all drills: reading advice is learnt early and cheaply, playing comes after."""


class HouseholdLessons:
    """See `distill.pocket.lessons.Lessons`. Without a `mix`, that of the shard's number; StateAct is taught to who reads already."""

    def __init__(self, mix: MixConfig | None = None, agent: AgentName = "react"):
        self.agent: PromptedAgent = load_agent(AgentConfig(name=agent, prompt="brief"), "alfworld")
        restated = agent == "stateact"
        self.vocabulary = HOUSEHOLDS_STATEACT if restated else HOUSEHOLDS
        self.max_tokens = 2 * MAX_TOKENS if restated else MAX_TOKENS
        self.mix = mix or (MixConfig() if restated else None)

    def texts(self, rng: random.Random) -> list[str]:
        return [phrase(rng, habit) for habit in Habit for _ in range(300)]

    def words(self, rng: random.Random) -> set[str]:
        return common_words(rng)

    def draw(self, rng: random.Random, shard: int) -> Episode:
        return draw_episode(rng, self.agent, self.mix or mix_of_shard(shard))


def mix_of_shard(number: int) -> MixConfig:
    return _READING if number < _READING_SHARDS else MixConfig()


def draw_episode(rng: random.Random, agent: PromptedAgent, mix: MixConfig) -> Episode:
    if rng.random() < mix.drills:
        return draw_drill(rng, agent, mix)
    rooms = rng.choices(_ROOMS, _weights(mix))[0]
    game = make_game(rng, rooms=rooms).game
    advice, habits = _draw_advised(rng, game, mix)
    played = demonstrate(game, habits, max_steps=rough_step_limit(rng, len(game.receptacles)), slips=rng)
    shown = as_told(agent, game, played)
    return Episode(messages=render(agent, game, shown, advice), slips=shown.slips)


_ROOMS: tuple[Rooms, ...] = ("full", "crowded", "small")


def _weights(mix: MixConfig) -> tuple[float, float, float]:
    return mix.large_rooms, mix.crowded_rooms, 1 - mix.large_rooms - mix.crowded_rooms


_KINDS_WITH_A_HABIT = [kind for kind in KINDS if HABIT_OF_KIND[kind]]
"""A habit of one kind is seen in a sixth of all episodes: drills make up for it."""


def draw_drill(rng: random.Random, agent: PromptedAgent, mix: MixConfig) -> Episode:
    """The beginning of an episode up to its first thought, which says the plan: what advice changes is nearly all that is learnt from it.
    The odds of each habit are those of whole episodes."""
    game = make_game(rng, rooms="small", kind=rng.choice(_KINDS_WITH_A_HABIT)).game
    advice, habits = _draw_advised(rng, game, mix, planned=0.6)
    shown = as_told(agent, game, demonstrate(game, habits, max_steps=1))
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


def as_told(agent: PromptedAgent, game: Game, shown: Demonstration) -> Demonstration:
    """A demonstration, which speaks as ReAct does, in the agent's own way."""
    if agent.kind == "react":
        return shown
    goal = game.goal
    short = f"{goal.object_type} for the {goal.receptacle_type}"
    if goal.lamp_type:
        short = f"{goal.object_type} and the {goal.lamp_type}"
    return restate(shown, short, HouseholdState(location="starting location"), agent.grammar)


def render(agent: Agent, game: Game, shown: Demonstration, hints: Sequence[str]) -> tuple[Message, ...]:
    given = [GivenHint(id=str(n), text=text) for n, text in enumerate(hints)]
    messages = agent.render(task_of(game), shown.opening, shown.turns, given)
    return messages[:-1]  # the last observation is answered by nobody


def task_of(game: Game) -> Task:
    split = "train" if game.path.startswith("train/") else "test"
    return Task(env="alfworld", split=split, id=game.path, kind=game.kind, goal=game.task)


@dataclass(frozen=True, slots=True)
class Household:
    """An unseen one, to be played: see `distill.pocket.evaluate.Exercise`."""

    game: Game

    @property
    def task(self) -> Task:
        return task_of(self.game)

    def start(self) -> tuple[str, Callable[[str], StepResult]]:
        world = World(self.game)

        def step(action: str) -> StepResult:
            observation = world.step(action)
            return StepResult(
                observation=observation,
                score=float(world.done),
                success=world.done,
                done=world.done,
                valid=world.valid,
            )

        return world.reset().removeprefix(BANNER), step


def unseen(seed: int, number: int, rooms: Rooms = "small") -> list[Household]:
    rng = random.Random(f"evaluation-{seed}")
    return [Household(make_game(rng, rooms=rooms, side="test").game) for _ in range(number)]


def no_advice(rng: random.Random, kind: str) -> list[str]:
    return []


def fitting_advice(rng: random.Random, kind: str, *, untrained: bool = False) -> list[str]:
    """Three habits that bear on the kind, its own among them."""
    own = HABIT_OF_KIND[kind]
    main = [h for h in (own, Habit.OPEN_CONTAINERS, Habit.TAKE_NAMED) if h]
    others = [h for h in habits_of_kind(kind) if h not in main]
    chosen = [*main, *rng.sample(others, 2)][:3]
    return [phrase(rng, h, untrained=untrained) for h in chosen]


def fitting_advice_in_other_words(rng: random.Random, kind: str) -> list[str]:
    return fitting_advice(rng, kind, untrained=True)


def random_fitting_advice(rng: random.Random, kind: str) -> list[str]:
    return [phrase(rng, h) for h in rng.sample(habits_of_kind(kind), 3)]


def idle_advice(rng: random.Random, kind: str) -> list[str]:
    """Three pieces of advice that do not bear on the kind."""
    own = HABIT_OF_KIND[kind]
    others = [h for h in HABIT_OF_KIND.values() if h and h != own]
    return [phrase(rng, h) for h in rng.sample([*others, None], 3)]


ARMS: Mapping[str, Advise] = {
    "base": no_advice,
    "fitting": fitting_advice,
    "fitting, untrained wording": fitting_advice_in_other_words,
    "random fitting": random_fitting_advice,
    "idle": idle_advice,
}


def course(agent: AgentName = "react") -> Course:
    return Course(agent=HouseholdLessons(agent=agent).agent, arms=ARMS, watched="take ")
