"""A way to win a goal for who knows which product it was written for: a search that finds it, its options, and the purchase.

It sees what a shopper sees and clicks what a shopper can click; that it wins is shown by playing it.
"""

from collections.abc import Iterator

from envs.base import StepResult, TextEnv
from envs.task import Task
from envs.webshop.goals import Goal

_MOST_WORDS = 8
"""Of a title that is searched for."""
_MOST_PAGES = 2
"""Of results that are looked through."""


def walkthrough(env: TextEnv, task: Task, goal: Goal) -> tuple[str, ...] | None:
    """Actions that win; None where no search of ours finds the product, or its options cannot be had."""
    for words in _searches(goal):
        if (actions := _try(env, task, goal, words)) is not None:
            return actions
    return None


def _searches(goal: Goal) -> Iterator[str]:
    """What the product is and is like, then its title."""
    title = [word for word in goal.title.lower().split() if word.isalnum()]
    yield " ".join(dict.fromkeys([*goal.attributes, *goal.query.lower().split()]))
    yield " ".join(title[:_MOST_WORDS])


def _try(env: TextEnv, task: Task, goal: Goal, words: str) -> tuple[str, ...] | None:
    actions: list[str] = []
    state = env.reset(task, seed=0)

    def act(action: str) -> StepResult:
        actions.append(action)
        return env.step(action)

    if not words:
        return None
    state = act(f"search[{words}]")
    opening = f"click[{goal.asin.lower()}]"
    for _ in range(_MOST_PAGES - 1):
        if opening not in state.admissible and "click[next >]" in state.admissible:
            state = act("click[Next >]")
    if opening not in state.admissible:
        return None
    state = act(f"click[{goal.asin}]")
    for option in goal.options:
        value = option if isinstance(option, str) else option[1]
        choose = f"click[{value.lower()}]"
        if choose in state.admissible:
            state = act(choose)
    state = act("click[Buy Now]")
    return tuple(actions) if state.success else None
