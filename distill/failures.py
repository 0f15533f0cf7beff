"""Why episodes were lost, by rules over what was done, what came back and what the world paid; and how the reasons move from arm to arm.

Every lost episode has one class, the first of its marks: what it did not even begin, then what the world's own verdict names, then the
diagnostician's habits, then what tells least, such as the limit that ended it. Knows records only, and asks no model.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actors.trajectory import EndReason, Trajectory
from distill.hints.rules import RULES, rules_for

Key = tuple[str, int]
"""(task key, seed)"""

SEARCHES = {"alfworld": "go to ", "scripted": "go to ", "webshop": "search["}
"""What every search begins with."""
WRONG_PARTS = {
    "r_type": "wrong_product",
    "r_option": "wrong_option",
    "r_price": "wrong_price",
    "r_att": "wrong_attribute",
}
"""Parts of a score, by the class of a loss that lacks them; the gravest first."""
MEANINGS = {
    "never_searched": "not one search or walk that the world carried out",
    "wrong_product": "bought another kind of product than was asked for",
    "wrong_option": "bought with an option of the task unchosen or chosen wrong",
    "wrong_price": "bought for more than the task allows",
    "wrong_attribute": "bought a product without an attribute of the task",
    "refused": "at least half of the actions were refused, or so many in a row that it ended",
    "repetition": "the same reply again and again ended it",
    "step_limit": "no rule explains it; the limit of steps or turns ended it",
    "token_limit": "no rule explains it; the prompt grew too long",
    "time_limit": "no rule explains it; its time ran out",
    "unexplained": "the world ended it, and no rule explains why",
    # Habits, by the names that their rules give them.
    "open_containers": "passed closed places by and left them closed",
    "look_once": "searched places again that it knew",
    "take_named": "took another object than the task names",
    "heat_first": "the object was never heated",
    "clean_first": "the object was never cleaned",
    "cool_first": "the object was never cooled",
    "second_one": "stopped after the first of two",
    "same_place": "put the two into different places",
    "use_lamp": "the object was in hand and no lamp beside it on",
    "open_target": "the place it belongs to stayed closed",
    "move_not_put": "placed with a command that is not understood",
    "right_place": "put the object elsewhere than the task says",
    "no_repeat": "said again what had done nothing",
    "exact_names": "took things by names that are not there",
    "open_chests": "passed closed chests by",
    "wash_first": "the thing was never washed",
    "choose_options": "bought without choosing an option of the task",
    "keep_to_price": "bought above the limit",
    "read_titles": "opened a result that fits less than another one",
    "find_options": "bought where the option is not sold",
    "short_query": "searched with whole sentences or prices",
    "decide": "looked at products and bought none",
    "use_buttons": "clicked what is not there",
}
_MOSTLY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """One arm's episodes, by what became of them."""

    marks: Mapping[Key, tuple[str, ...]]
    """Of every episode that the agent finished; () for a won one. The first mark of a lost one is its class."""
    num_errors: int
    """Lost by the machinery: in no class, and in `marks` neither."""

    @property
    def classes(self) -> Counter[str]:
        return Counter(marks[0] for marks in self.marks.values() if marks)

    @property
    def all_marks(self) -> Counter[str]:
        """An episode counts once under each of its marks."""
        return Counter(mark for marks in self.marks.values() for mark in marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What became of base's failures in another arm, over the (task, seed) pairs that both finished."""

    num_pairs: int
    mended: Counter[str]
    """Lost by base and won here, by base's class."""
    broken: Counter[str]
    """Won by base and lost here, by this arm's class."""
    both_lost: Counter[tuple[str, str]]
    """By (base's class, this arm's class)."""

    @property
    def new(self) -> Counter[str]:
        """Losses by a class that base's episode did not have: of tasks that base won, or lost for another reason."""
        found = Counter(self.broken)
        for (before, here), count in self.both_lost.items():
            if before != here:
                found[here] += count
        return found


def marks_of(trajectory: Trajectory) -> tuple[str, ...]:
    """Everything that tells why the episode was lost, the most telling first; () for a won one."""
    if trajectory.success:
        return ()
    causes, slips = _habits(trajectory)
    found = [
        *(["never_searched"] if _never_searched(trajectory) else []),
        *_wrong_parts(trajectory),
        *causes,
        *(["refused"] if _mostly_refused(trajectory) else []),
        *(["repetition"] if trajectory.end is EndReason.REPETITION else []),
        *slips,
    ]
    limits = (EndReason.STEP_LIMIT, EndReason.TOKEN_LIMIT, EndReason.TIME_LIMIT)
    if trajectory.end in limits:
        found.append(str(trajectory.end))
    return tuple(dict.fromkeys(found)) or ("unexplained",)


def read_outcomes(trajectories: Iterable[Trajectory]) -> Outcomes:
    """Looks at one episode at a time and keeps its marks."""
    marks: dict[Key, tuple[str, ...]] = {}
    num_errors = 0
    for trajectory in trajectories:
        if trajectory.end is EndReason.ERROR:
            num_errors += 1
        else:
            marks[trajectory.task.key, trajectory.seed] = marks_of(trajectory)
    return Outcomes(marks=marks, num_errors=num_errors)


def flow(base: Outcomes, other: Outcomes) -> Flow:
    mended: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    both_lost: Counter[tuple[str, str]] = Counter()
    shared = base.marks.keys() & other.marks.keys()
    for key in shared:
        before, here = base.marks[key], other.marks[key]
        if before and here:
            both_lost[before[0], here[0]] += 1
        elif before:
            mended[before[0]] += 1
        elif here:
            broken[here[0]] += 1
    return Flow(num_pairs=len(shared), mended=mended, broken=broken, both_lost=both_lost)


def meaning(mark: str, env: str) -> str:
    """A class in words; of a habit without any, the advice against it."""
    return MEANINGS.get(mark) or f"needs the advice: {rules_for(env).PHRASINGS[mark][0]}"


def _habits(trajectory: Trajectory) -> tuple[list[str], list[str]]:
    """(causes, slips) that the diagnostician names; none for an environment that it does not know."""
    if trajectory.task.env not in RULES:
        return [], []
    rules = rules_for(trajectory.task.env)
    habits = rules.diagnose(trajectory)
    return [h for h in habits if h not in rules.SLIPS], [h for h in habits if h in rules.SLIPS]


def _never_searched(trajectory: Trajectory) -> bool:
    search = SEARCHES.get(trajectory.task.env)
    return search is not None and not any(
        turn.valid and turn.action is not None and turn.action.strip().startswith(search)
        for turn in trajectory.turns
    )


def _wrong_parts(trajectory: Trajectory) -> list[str]:
    parts = dict(trajectory.parts)
    return [mark for name, mark in WRONG_PARTS.items() if parts.get(name, 1.0) < 1]


def _mostly_refused(trajectory: Trajectory) -> bool:
    steps = [turn for turn in trajectory.turns if turn.action is not None]
    if trajectory.end is EndReason.REFUSALS:
        return True
    return bool(steps) and sum(not turn.valid for turn in steps) / len(steps) >= _MOSTLY
