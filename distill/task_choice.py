"""Which tasks a study plays: a named panel, or so many of a split, balanced over kinds and chosen by hash."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from envs.config import EnvConfig
from envs.panel import Panel
from envs.registry import check_panel, find_panel, list_tasks, make_panel
from envs.task import Task


def choose_panel(name: str, choice: int | str, split: str, env: EnvConfig) -> Panel:
    """The panel of `choice`: a number of tasks of `split`, a shipped panel's name, or a panel file.

    Raises:
        ValueError: the split holds no task or fewer than asked for.
        PanelMismatchError: the data at hand is not what the panel was frozen on.
    """
    if isinstance(choice, str):
        panel = find_panel(choice)
        return check_panel(panel, env)
    return make_panel(name, env, balanced(list_tasks(env, split), choice, split))


def balanced(tasks: Sequence[Task], number: int, split: str) -> list[Task]:
    """`number` tasks, as even over kinds as the split allows, the same ones on every machine; sorted by id."""
    if len(tasks) < number:
        raise ValueError(
            f"asked for {number} tasks of split {split!r} but the data holds {len(tasks)}; lower tasks.{split} or get more data"
        )
    by_kind: dict[str, list[Task]] = defaultdict(list)
    for task in sorted(tasks, key=_rank):
        by_kind[task.kind].append(task)
    chosen: list[Task] = []
    while len(chosen) < number:
        for kind in sorted(by_kind):
            if by_kind[kind] and len(chosen) < number:
                chosen.append(by_kind[kind].pop(0))
    return sorted(chosen, key=lambda task: task.id)


def _rank(task: Task) -> str:
    return hashlib.sha256(task.key.encode()).hexdigest()
