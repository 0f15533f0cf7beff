"""Bad habits in ALFWorld's households, told from actions and observations alone.

The rules follow the way to success: find the object, hold it, treat it, bring it; a habit that stopped the episode on its way outranks one
that only cost steps.
"""

from collections import Counter
from collections.abc import Sequence

from actors.trajectory import Trajectory
from distill.hints.rules.alfworld_trace import Goal, Step, Trace, parse_goal, read_trace, type_of

PHRASINGS: dict[str, tuple[str, ...]] = {
    "open_containers": (
        "Open every closed {container} you come to and look inside.",
        "Open each closed {container} you come to and look inside it.",
        "When a {container} is closed, open it before you search elsewhere.",
        "Look for the {object} inside closed places too: open them.",
    ),
    "look_once": (
        "Search each {place} only once, then move on to a new one.",
        "Search every {place} only once and then go on to a new one.",
        "Do not search the same {place} again; go to a new one.",
    ),
    "take_named": (
        "Take only the {object} that the task names.",
        "Take only the very {object} that the task names, nothing else.",
        "Take nothing but the {object} named in the task; leave other things where they are.",
    ),
    "heat_first": (
        "Heat the {object} with the microwave before you put it in the {target}.",
        "Heat the {object} in the microwave before you place it in the {target}.",
        "Only a hot {object} belongs in the {target}: go to the microwave and heat it first.",
    ),
    "clean_first": (
        "Clean the {object} with the sinkbasin before you put it in the {target}.",
        "Clean the {object} at the sinkbasin before you place it in the {target}.",
        "Do not forget to clean the {object}: the sinkbasin comes first, the {target} after it.",
    ),
    "cool_first": (
        "Cool the {object} with the fridge before you put it in the {target}.",
        "Cool the {object} in the fridge before you place it in the {target}.",
        "Never bring the {object} as it is; go to the fridge and cool it first.",
    ),
    "second_one": (
        "After the first {object} is placed, find the second {object} and bring it too.",
        "Once the first {object} is placed, find the second {object} and bring it as well.",
        "Do not stop after the first {object}: find a second {object} for the same {target}.",
    ),
    "same_place": (
        "Put both {object}s in the same {target}.",
        "Put both {object}s in one and the same {target}.",
    ),
    "use_lamp": (
        "Hold the {object}, go to the {lamp} and use it.",
        "With the {object} in hand, go to the {lamp} and use the {lamp}.",
        "Carry the {object} to the {lamp} and use the {lamp} to turn it on.",
    ),
    "open_target": (
        "Open the {target} before you put the {object} in it.",
        "Open the {target} first, before you put the {object} in.",
        "If the {target} is closed, open it and then place the {object}.",
    ),
    "move_not_put": (
        "Use move {object} to {target} to place things; put is not understood.",
        "Say move {object} to {target} to place things; put is not understood.",
        "Place things with the command move, not with put.",
    ),
    "right_place": (
        "Bring the {object} only to the {target} that the task names.",
        "Bring the {object} to the {target} of the task, to no other place.",
    ),
    "no_repeat": (
        "When a command does nothing, try something else instead of repeating it.",
        "If a command does nothing, try something else and do not repeat it.",
        "Do not repeat a command that does nothing.",
    ),
    "exact_names": (
        "Copy the name and number of the {object} exactly as you see it.",
        "Copy the exact number of the {object} that you see.",
    ),
}
SLIPS = frozenset({"no_repeat", "exact_names"})

_WASTED_VISITS = 2  # one return to a place can be a reasonable second look
_LAST = 3
_IDLE_STEPS = 4  # fewer steps with the object in hand than this may be the limit's doing


def diagnose(trajectory: Trajectory) -> list[str]:
    """Habits shown, what stopped success first; slips only where nothing else was found."""
    trace = read_trace(trajectory.opening, trajectory.turns)
    goal = parse_goal(trajectory.task.goal)
    found = _blocked_on_the_way(trace, goal) if goal else _searching(trace, None, trace.steps)
    found += _commands(trace)
    ordered = list(dict.fromkeys(found))
    return ordered or _slips(trace)


def _blocked_on_the_way(trace: Trace, goal: Goal) -> list[str]:
    took_other = _took_other(trace, goal)
    searching = [step for step in trace.steps if step.held is None]
    if not any(_holds(step, goal) for step in trace.steps) and not _is(trace.held, goal.object):
        return [*took_other, *_searching(trace, goal, searching)]
    if goal.lamp:
        return [*_lamp(trace, goal), *took_other, *_searching(trace, goal, searching)]
    found = _treatment(trace, goal) or _placement(trace, goal)
    if goal.two:
        found += _second(trace, goal, took_other)
    return [*found, *took_other, *_searching(trace, goal, searching)]


def _took_other(trace: Trace, goal: Goal) -> list[str]:
    taken = [step.object for step in trace.steps if step.verb == "take" and step.worked and step.object]
    return ["take_named"] if any(type_of(thing) != goal.object for thing in taken) else []


def _treatment(trace: Trace, goal: Goal) -> list[str]:
    """The object went, or was about to go, where it belongs without being treated."""
    if goal.treatment is None:
        return []
    with_object = [step for step in trace.steps if _holds(step, goal)]
    tried = any(step.verb == "treat" and step.command.startswith(goal.treatment) for step in with_object)
    placed_raw = any(
        step.verb == "place" and goal.treatment not in step.treatments and _is(step.place, goal.target)
        for step in with_object
    )
    if placed_raw or (not tried and len(with_object) >= _IDLE_STEPS):
        return [f"{goal.treatment}_first"]
    return []


def _placement(trace: Trace, goal: Goal) -> list[str]:
    """The object was ready and in hand, and did not get into the target."""
    found = []
    tries = [step for step in trace.steps if step.verb == "place" and _holds(step, goal)]
    blocked = [step for step in tries if not step.worked and step.known_closed]
    left_closed = _is(trace.held, goal.object) and any(
        _is(place, goal.target) for place in trace.never_opened
    )
    if blocked or (left_closed and _reached_target(trace, goal)):
        found.append("open_target")
    if any(step.worked and step.place and not _is(step.place, goal.target) for step in tries):
        found.append("right_place")
    return found


def _reached_target(trace: Trace, goal: Goal) -> bool:
    return any(
        step.verb == "go" and step.worked and _is(step.place, goal.target) and _holds(step, goal)
        for step in trace.steps
    )


def _second(trace: Trace, goal: Goal, took_other: list[str]) -> list[str]:
    """One of the two came to its place, the other did not; a search in vain has its own habit, giving up is this one."""
    placed = [
        (i, step)
        for i, step in enumerate(trace.steps)
        if step.verb == "place" and step.worked and _holds(step, goal) and _is(step.place, goal.target)
    ]
    if not placed:
        return []
    things = {step.object for _, step in placed}
    if len(things) > 1:
        return ["same_place"] if len({step.place for _, step in placed}) > 1 else []
    after = trace.steps[placed[0][0] + 1 :]
    if any(_holds(step, goal) and step.held not in things for step in after):
        return []
    in_vain = _searching(trace, goal, [step for step in after if step.held is None])
    if in_vain or took_other:
        return in_vain or took_other
    # No step left after the first, or none for the rest of the search, is the limit's doing and not a habit.
    return [] if not after or _finding_new_places(after) else ["second_one"]


def _lamp(trace: Trace, goal: Goal) -> list[str]:
    """The object was in hand, but never beside a lamp that is on."""
    lit = {
        step.at for step in trace.steps if step.verb == "use" and step.worked and _is(step.object, goal.lamp)
    }
    moments = [*((step.held, step.at) for step in trace.steps), (trace.held, trace.at)]
    used_in_hand = any(_holds(step, goal) and step.verb == "use" and step.worked for step in trace.steps)
    if used_in_hand or any(_is(held, goal.object) and at in lit for held, at in moments):
        return []
    found_lamp = any(_is(thing, goal.lamp) for things in trace.contents.values() for thing in things)
    in_vain = (
        [] if found_lamp else _searching(trace, goal, [step for step in trace.steps if _holds(step, goal)])
    )
    if in_vain or (not found_lamp and _finding_new_places(trace.steps)):
        return in_vain
    return ["use_lamp"]


def _searching(trace: Trace, goal: Goal | None, steps: Sequence[Step]) -> list[str]:
    """Why something stayed unfound: closed places were left closed, or known ones were searched again."""
    # A closed place reached with the very last step could not be opened any more.
    visits = [step for step in steps if step.verb == "go" and step.worked and step is not trace.steps[-1]]
    passed = {step.place for step in visits if step.place in trace.never_opened}
    wasted = [step for step in steps if step.verb == "go" and step.worked and _is_wasted(step, goal)]
    found = []
    if passed:
        found.append("open_containers")
    if len(wasted) >= _WASTED_VISITS:
        found.append("look_once")
    unvisited = trace.places - trace.contents.keys() - trace.never_opened
    if len(found) == 2 and unvisited and len(wasted) > len(passed):
        found.reverse()
    return found


def _finding_new_places(steps: Sequence[Step]) -> bool:
    """Whether the episode was cut off in an orderly search."""
    return any(
        step.verb == "go" and step.worked and step.known is None and not step.known_closed
        for step in steps[-_LAST:]
    )


def _is_wasted(step: Step, goal: Goal | None) -> bool:
    """A way to a place whose contents were known and hold nothing of use."""
    if step.known is None:
        return False
    useful = goal is not None and any(type_of(thing) in (goal.object, goal.lamp) for thing in step.known)
    return not useful


def _commands(trace: Trace) -> list[str]:
    refused = [step for step in trace.steps if step.command.startswith("put ") and not step.worked]
    return ["move_not_put"] if any(step.held and step.held in step.command for step in refused) else []


def _slips(trace: Trace) -> list[str]:
    found = []
    failed = Counter(step.command for step in trace.steps if not step.worked)
    if any(count > 1 for count in failed.values()):
        found.append("no_repeat")
    if any(
        step.verb == "take" and not step.worked and step.held is None and step.at == step.place
        for step in trace.steps
    ):
        found.append("exact_names")
    return found


def _holds(step: Step, goal: Goal) -> bool:
    return _is(step.held, goal.object)


def _is(thing: str | None, type_name: str | None) -> bool:
    return thing is not None and type_name is not None and type_of(thing) == type_name
