"""Bad habits in the scripted house, one for each of its traps. Small: it shows what a module of rules is."""

from itertools import pairwise

from actors.trajectory import Trajectory

PHRASINGS: dict[str, tuple[str, ...]] = {
    "open_chests": (
        "Open every closed chest and look for the {object} in it.",
        "Open each closed chest and look for the {object} inside.",
        "When you see a closed chest, open it before you go on.",
    ),
    "wash_first": (
        "Wash the {object} at the tap before you drop it in the hall.",
        "Wash the {object} at the tap before you bring it to the hall.",
        "Only a clean {object} counts: take it to the tap and wash it first.",
    ),
    "second_one": (
        "After the first {object} is in the hall, fetch the second {object} too.",
        "Once the first {object} is in the hall, fetch the second {object} as well.",
        "Bring both {object}s: one is not enough.",
    ),
    "no_repeat": (
        "When a command does nothing, try something else instead of repeating it.",
        "If a command does nothing, try something else and do not repeat it.",
    ),
}
SLIPS = frozenset({"no_repeat"})


def diagnose(trajectory: Trajectory) -> list[str]:
    """Habits shown, what stopped success first; slips only where nothing else was found."""
    found = []
    steps = [(turn.action, turn.observation) for turn in trajectory.turns if turn.action is not None]
    if any(action.startswith("drop") and "carries it off" in seen for action, seen in steps):
        found.append("wash_first")
    if "bring two" in trajectory.task.goal and any("Well done." in seen for _, seen in steps):
        found.append("second_one")
    passed_by = any(
        seen.endswith(("closed chest.", "closed chest. There is a tap.")) and following != "open chest"
        for (_, seen), (following, _) in pairwise(steps)
    )
    if passed_by:
        found.append("open_chests")
    failed = [action for action, seen in steps if seen.startswith("Nothing happens")]
    return found or (["no_repeat"] if len(set(failed)) < len(failed) else [])
