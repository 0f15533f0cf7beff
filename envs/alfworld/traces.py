"""Recorded play of the original, replayed in our engine and compared to the byte: the proof that we hand to users.

A trace file is JSON lines, plain or .xz: `{game, steps: [{action, obs, admissible, score, done, won}]}`; step 0 has action null.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.alfworld.index import GameIndex, open_index
from envs.alfworld.world import World
from envs.base import EnvError
from envs.trace_files import read_traces, trace_files

_COMPARED = ("obs", "admissible", "score", "done", "won")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceReport:
    num_traces: int
    matched: int
    """Steps that are the same in all five fields, resets included."""
    mismatched: int
    missing: tuple[str, ...]
    """Games that traces name and the data lacks; their steps are in neither count."""
    unplayable: int
    """Traces that recorded an error instead of play."""
    first_difference: str | None

    @property
    def ok(self) -> bool:
        """Something was compared and nothing differs or is missing."""
        return self.matched > 0 and not self.mismatched and not self.missing


def check_traces(traces: Path | Iterable[Path], games: str | Path) -> TraceReport:
    """Replay traces (files, or folders of them) over `games`.

    Raises:
        EnvError: a trace file is damaged or none is there, or `games` cannot be opened.
    """
    index = open_index(str(games))
    held = set(index.paths())
    total = matched = mismatched = unplayable = 0
    missing: set[str] = set()
    first: str | None = None
    for source, trace in _read_traces([traces] if isinstance(traces, str | Path) else traces):
        total += 1
        if trace["game"] not in held:
            missing.add(trace["game"])
            continue
        if not trace["steps"]:
            unplayable += 1
        for difference in _replay(index, trace, source):
            if difference is None:
                matched += 1
            else:
                mismatched += 1
                first = first or difference
    return TraceReport(
        num_traces=total,
        matched=matched,
        mismatched=mismatched,
        missing=tuple(sorted(missing)),
        unplayable=unplayable,
        first_difference=first,
    )


def _replay(index: GameIndex, trace: dict[str, Any], source: str) -> Iterator[str | None]:
    """For every step None, or what differs."""
    world = World(index.game(trace["game"]))
    for number, step in enumerate(trace["steps"]):
        text = world.reset() if step["action"] is None else world.step(step["action"])
        ours = {
            "obs": text,
            "admissible": list(world.admissible),
            "score": world.score,
            "done": world.done,
            "won": world.done,
        }
        yield next(
            (
                f"{source}: {trace['game']} step {number} ({step['action']!r}): {field} is {_shown(ours[field], step[field])}"
                for field in _COMPARED
                if field in step and ours[field] != step[field]
            ),
            None,
        )


def _shown(ours: object, recorded: object) -> str:
    if isinstance(ours, list) and isinstance(recorded, list):
        extra, lacking = sorted(set(ours) - set(recorded)), sorted(set(recorded) - set(ours))
        return f"too long by {extra} and too short by {lacking}" if extra or lacking else "in another order"
    return f"{ours!r}, recorded {recorded!r}"


def _read_traces(places: Iterable[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    files = [file for place in places for file in trace_files(Path(place))]
    for file in files:
        for number, trace in read_traces(file):
            if not isinstance(trace.get("game"), str) or not isinstance(trace.get("steps"), list):
                raise EnvError(f"{file} line {number} is no trace: it needs `game` and `steps`")
            yield f"{file.name}:{number}", trace
