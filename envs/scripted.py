"""A small world in pure Python: search a house, bring things to the hall. For tests of everything above the environments.

Three kinds of task, each with a trap that a hint could name: `fetch` (chests are closed), `wash` (the thing must be washed
before it counts), `pair` (two of them are wanted). Knows nothing of models or hints.
"""

import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from envs.base import EnvError, StepResult, TextEnv
from envs.config import ScriptedConfig
from envs.task import Task

KINDS = ("fetch", "wash", "pair")
ROOMS = ("attic", "cellar", "kitchen", "library", "study", "workshop")
THINGS = ("bell", "book", "coin", "cup", "key", "lamp", "ring", "spoon", "watch")
WASHING_ROOM = "kitchen"
_HALL = "hall"
_SPLITS = ("train", "train", "train", "dev", "test")
"""By turns over groups of as many tasks as there are kinds, so that each split holds every kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What one task is played on."""

    kind: str
    wanted: str
    places: tuple[tuple[str, str], ...]
    """(thing, room) by room; a thing of the wanted name may be there twice."""
    closed: tuple[str, ...]
    """Rooms whose chest must be opened first."""

    @property
    def goal(self) -> str:
        if self.kind == "pair":
            return f"bring two {self.wanted}s to the hall."
        return f"bring {'a clean' if self.kind == 'wash' else 'the'} {self.wanted} to the hall."


def house_of(number: int) -> House:
    """The house of a task, the same on every machine."""
    rng = random.Random(f"scripted house {number}")
    kind = KINDS[number % len(KINDS)]
    wanted, *others = rng.sample(THINGS, 4)
    rooms = rng.sample(ROOMS, len(ROOMS))
    things = [wanted, wanted, *others] if kind == "pair" else [wanted, *others]
    places = tuple(sorted(zip(things, rooms, strict=False), key=lambda place: (place[1], place[0])))
    closed = tuple(sorted(room for room in ROOMS if rng.random() < 0.5))
    return House(kind=kind, wanted=wanted, places=places, closed=closed)


def solution(task: Task) -> tuple[str, ...]:
    """Actions that win the task."""
    house = house_of(_number(task))
    actions: list[str] = []
    for thing, room in house.places:
        if thing != house.wanted:
            continue
        actions.append(f"go to {room}")
        if room in house.closed:
            actions.append("open chest")
        actions.append(f"take {thing}")
        if house.kind == "wash":
            actions += [f"go to {WASHING_ROOM}"] * (room != WASHING_ROOM) + [f"wash {thing}"]
        actions += ["go to hall", f"drop {thing}"]
    return tuple(actions)


def open_env(config: ScriptedConfig) -> TextEnv:
    return ScriptedEnv(config)


def list_tasks(config: ScriptedConfig, split: str | None = None) -> list[Task]:
    tasks = []
    for number in range(config.num_tasks):
        house = house_of(number)
        of_split = _SPLITS[number // len(KINDS) % len(_SPLITS)]
        if split in (None, of_split):
            tasks.append(
                Task(
                    env="scripted", split=of_split, id=f"house-{number:05d}", kind=house.kind, goal=house.goal
                )
            )
    return tasks


def content_hashes(config: ScriptedConfig, tasks: Sequence[Task]) -> list[str]:
    return [
        hashlib.sha256(json.dumps(asdict(house_of(_known(config, task)))).encode()).hexdigest()
        for task in tasks
    ]


def gold_plan(config: ScriptedConfig, task: Task) -> tuple[str, ...]:
    return solution(task)


def dialect(config: ScriptedConfig) -> str:
    return "scripted-1"


class ScriptedEnv:
    """One player. Latency and crashes come from the config."""

    def __init__(self, config: ScriptedConfig) -> None:
        self._config = config
        self._house: House | None = None
        self._room = _HALL
        self._held: str | None = None
        self._washed = False
        self._brought = 0
        self._open: set[str] = set()
        self._lying: dict[str, list[str]] = {}

    def reset(self, task: Task, *, seed: int) -> StepResult:
        """The house is the task's own: `seed` changes nothing."""
        number = _known(self._config, task)
        if task.id in self._config.crash_on:
            raise EnvError(f"task {task.id} is listed in crash_on")
        self._house = house = house_of(number)
        self._room, self._held, self._washed, self._brought = _HALL, None, False, 0
        self._open = {room for room in ROOMS if room not in house.closed}
        self._lying = {room: [thing for thing, place in house.places if place == room] for room in ROOMS}
        opening = f"You are in the hall. Doors lead to {', '.join(ROOMS[:-1])} and {ROOMS[-1]}.\n\nYour task is to: {house.goal}"
        return self._result(opening, valid=True)

    def step(self, action: str) -> StepResult:
        if self._house is None:
            raise EnvError("step before reset: no task is being played")
        if self._config.step_latency_s:
            time.sleep(self._config.step_latency_s)
        action = action.strip()
        if action not in self._admissible():
            return self._result("Nothing happens.", valid=False)
        verb, _, rest = action.partition(" ")
        act: dict[str, Callable[[str], str]] = {
            "look": self._look,
            "go": self._go,
            "open": self._open_chest,
            "take": self._take,
            "wash": self._wash,
            "drop": self._drop,
        }
        return self._result(act[verb](rest), valid=True)

    def close(self) -> None:
        self._house = None

    def _go(self, rest: str) -> str:
        self._room = rest.removeprefix("to ")
        return self._look()

    def _look(self, _: str = "") -> str:
        if self._room == _HALL:
            return f"You are in the hall. {self._brought} of the things that you brought count."
        tap = " There is a tap." if self._room == WASHING_ROOM else ""
        if self._room not in self._open:
            return f"You are in the {self._room}. You see a closed chest.{tap}"
        lying = self._lying[self._room]
        return f"You are in the {self._room}. In the open chest you see {', '.join(f'a {t}' for t in lying) or 'nothing'}.{tap}"

    def _open_chest(self, _: str) -> str:
        self._open.add(self._room)
        return f"You open the chest. {self._look()}"

    def _take(self, thing: str) -> str:
        self._lying[self._room].remove(thing)
        self._held, self._washed = thing, False
        return f"You take the {thing}."

    def _wash(self, thing: str) -> str:
        self._washed = True
        return f"You wash the {thing}."

    def _drop(self, thing: str) -> str:
        assert self._house is not None
        counts = thing == self._house.wanted and (self._washed or self._house.kind != "wash")
        self._held, self._brought = None, self._brought + counts
        # What does not count goes back to where it can be taken again, so that no mistake is final.
        if not counts:
            self._lying[WASHING_ROOM].append(thing)
        return f"You drop the {thing}. {'Well done.' if counts else f'A hand carries it off to the {WASHING_ROOM}.'}"

    def _admissible(self) -> tuple[str, ...]:
        actions = {"look"} | {f"go to {room}" for room in (*ROOMS, _HALL) if room != self._room}
        if self._room == _HALL:
            if self._held:
                actions.add(f"drop {self._held}")
        elif self._room not in self._open:
            actions.add("open chest")
        elif not self._held:
            actions |= {f"take {thing}" for thing in self._lying[self._room]}
        if self._held and self._room == WASHING_ROOM:
            actions.add(f"wash {self._held}")
        return tuple(sorted(actions))

    def _result(self, observation: str, *, valid: bool) -> StepResult:
        assert self._house is not None
        score = min(1.0, self._brought / (2 if self._house.kind == "pair" else 1))
        return StepResult(
            observation=observation,
            score=score,
            success=score == 1.0,
            done=score == 1.0,
            admissible=self._admissible(),
            valid=valid,
        )


def _number(task: Task) -> int:
    try:
        return int(task.id.removeprefix("house-"))
    except ValueError:
        raise EnvError(
            f"no scripted task is called {task.id!r}; they are called house-00000 and so on"
        ) from None


def _known(config: ScriptedConfig, task: Task) -> int:
    number = _number(task)
    if task.env != "scripted" or not 0 <= number < config.num_tasks:
        raise EnvError(f"no scripted task is called {task.id!r}: num_tasks = {config.num_tasks}")
    return number
