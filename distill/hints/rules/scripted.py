"""Bad habits in the scripted corridor of rooms. Small on purpose: it shows what a module of rules is, and tests the machinery."""

from actors.trajectory import Trajectory

PHRASINGS: dict[str, tuple[str, ...]] = {
    "search_all": (
        "Search every {room} until you find the {object}.",
        "Search each {room} until you have found the {object}.",
    ),
    "no_repeat": (
        "When a command does nothing, try something else instead of repeating it.",
        "If a command does nothing, try something else and do not repeat it.",
    ),
}
SLIPS: frozenset[str] = frozenset()


def diagnose(trajectory: Trajectory) -> list[str]:
    """Repeating what was refused; otherwise the search was not thorough."""
    actions = [turn for turn in trajectory.turns if turn.action is not None]
    repeated = any(
        not a.valid and not b.valid and a.action == b.action
        for a, b in zip(actions, actions[1:], strict=False)
    )
    return ["no_repeat", "search_all"] if repeated else ["search_all"]
