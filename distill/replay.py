"""A recorded episode played again without its model: the same actions in the same world, held against the record step by step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from actors.trajectory import EndReason, Trajectory, Turn
from envs.base import EnvError, StepResult, TextEnv


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where world and record part first."""

    turn: int | None
    """None: at the start or, where `what` says so, at the end."""
    what: str
    """Such as `observation`."""
    recorded: str
    found: str

    def __str__(self) -> str:
        place = "" if self.turn is None else f"turn {self.turn}: "
        return f"{place}the {self.what} differs: recorded {self.recorded}, now {self.found}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What became of one record."""

    id: str
    task: str
    num_steps: int
    """Actions that the world answered as recorded."""
    difference: Difference | None
    is_lost: bool = False
    """The machinery lost the episode: nothing was recorded that could be played."""

    @property
    def is_exact(self) -> bool:
        return self.difference is None and not self.is_lost


def replay(env: TextEnv, trajectory: Trajectory) -> Replay:
    """Play the recorded actions; turns that never reached the world are passed over."""
    if trajectory.end is EndReason.ERROR:
        return Replay(id=trajectory.id, task=trajectory.task.key, num_steps=0, difference=None, is_lost=True)
    num_steps = 0
    try:
        for difference in _differences(env, trajectory):
            if difference is not None:
                break
            num_steps += 1
        else:
            difference = None
    except EnvError as error:
        difference = Difference(
            turn=None, what="world", recorded="an episode", found=f"an error ({error}); is it the same data?"
        )
    return Replay(id=trajectory.id, task=trajectory.task.key, num_steps=num_steps, difference=difference)


def _differences(env: TextEnv, trajectory: Trajectory) -> Iterator[Difference | None]:
    """After every step None where it was as recorded, else what was not; at the end nothing or what differs there."""
    state = env.reset(trajectory.task, seed=trajectory.seed)
    if differs := _first((("opening", trajectory.opening, state.observation),), None):
        yield differs
        return
    for index, turn in enumerate(trajectory.turns):
        if turn.action is None:
            continue
        if state.done:
            yield Difference(turn=index, what="end", recorded="going on", found="done before this turn")
            return
        before, state = state, env.step(turn.action)
        yield _compare(turn, before, state, index)
    yield from filter(None, [_at_the_end(trajectory, state)])


def _compare(turn: Turn, before: StepResult, after: StepResult, index: int) -> Difference | None:
    """The first thing that the world answers otherwise than it did in the recorded turn."""
    return _first(
        (
            ("observation", turn.observation, after.observation),
            ("validity", turn.valid, after.valid),
            ("executed action", turn.executed, after.executed),
            ("change of score", turn.reward, after.score - before.score),
        ),
        index,
    )


def _at_the_end(trajectory: Trajectory, state: StepResult) -> Difference | None:
    parts = tuple((name, float(value)) for name, value in sorted(state.parts.items()))
    return _first(
        (
            ("end by the world", trajectory.end is EndReason.DONE, state.done),
            ("success", trajectory.success, state.success),
            ("score", trajectory.score, state.score),
            ("parts of the score", trajectory.parts, parts),
        ),
        None,
    )


def _first(triples: Sequence[tuple[str, object, object]], turn: int | None) -> Difference | None:
    return next(
        (
            Difference(turn=turn, what=what, recorded=repr(recorded), found=repr(found))
            for what, recorded, found in triples
            if recorded != found
        ),
        None,
    )
