"""What the diagnostician knows of each environment. A new environment is one module here and one row of `RULES`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from actors.trajectory import Trajectory

RULES = {
    "alfworld": "distill.hints.rules.alfworld",
    "scripted": "distill.hints.rules.scripted",
    "webshop": "distill.hints.rules.webshop",
}


class Rules(Protocol):
    """A module, in fact. Reads actions, observations and the task's sentence; never the world, nor whether the episode succeeded."""

    PHRASINGS: Mapping[str, tuple[str, ...]]
    """Several ways to give the advice against each habit."""
    SLIPS: frozenset[str]
    """Habits that are symptoms more often than causes: named only where nothing else explains a failure."""

    def diagnose(self, trajectory: Trajectory) -> list[str]:
        """The bad habits that the episode shows, what stopped its success first."""
        ...


def rules_for(env: str) -> Rules:
    if env not in RULES:
        raise ValueError(
            f"the diagnostician has no rules for {env!r}, only for {', '.join(sorted(RULES))}; "
            "use writer.kind = 'openai' or add a module to distill/hints/rules"
        )
    return cast(Rules, import_module(RULES[env]))
