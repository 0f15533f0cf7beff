"""A run's status as JSON, and as rows and lines for people."""

from collections.abc import Iterator
from typing import Any

from actors.status_line import clock, duration
from distill.sight.run_status import RunStatus
from distill.sight.stage_state import StageState, State

Row = tuple[str, str, str, str]
"""stage, state, progress, note"""


def to_json(status: RunStatus) -> dict[str, Any]:
    done, asked = status.episodes
    return {
        "run": status.name,
        "path": str(status.path),
        "now": status.now,
        "stages": [_stage_json(stage) for stage in status.stages],
        "counts": {str(state): number for state, number in status.by_state.items()},
        "episodes": {
            "done": done,
            "asked": asked,
            "per_hour": status.episodes_per_hour,
            "errors": status.errors,
            "retries": status.retries,
            "losses": dict(status.losses),
        },
        "remaining_s": status.remaining_s,
        "not_in_remaining": dict(status.not_in_remaining),
        "last_progress": status.last_progress,
        "disk_bytes": status.disk_bytes,
        "usd": {"known": status.money.known, "unpriced": list(status.money.unpriced)},
        "warnings": list(status.warnings),
    }


def to_rows(status: RunStatus) -> list[Row]:
    return [
        (stage.name, str(stage.state), _progress(stage), _note(stage, status.now)) for stage in status.stages
    ]


def to_lines(status: RunStatus) -> Iterator[str]:
    """What stands below the table, warnings left out."""
    counts = ", ".join(f"{number} {state}" for state, number in status.by_state.items())
    done, asked = status.episodes
    rate = status.episodes_per_hour
    yield f"{counts}; {done:,} of {asked:,} episodes" + (f", {rate:,.0f} an hour" if rate is not None else "")
    if not status.is_done:
        yield _finish(status)
        yield _who(status)
    yield ", ".join(
        [
            f"{status.errors:,} episodes lost to errors",
            f"{status.retries:,} retries in rollouts under way",
            f"{_bytes(status.disk_bytes)} on disk, stages shared with other studies included",
        ]
    )
    for reason, number in sorted(status.losses.items(), key=lambda item: -item[1]):
        yield f"  {number:,} attempts lost: {reason}"
    yield _money(status)


def _stage_json(stage: StageState) -> dict[str, Any]:
    return {
        "name": stage.name,
        "kind": stage.kind,
        "state": str(stage.state),
        "folder": str(stage.folder),
        "writer": stage.writer.to_json() if stage.writer else None,
        "alive": stage.is_alive,
        "since": stage.since,
        "reason": stage.reason,
        "last_change": stage.last_change,
        "counts": dict(stage.manifest.get("counts", {})),
        "seconds": stage.manifest.get("seconds"),
        "rollout": stage.standing.to_json() if stage.standing else None,
        "training": dict(stage.training),
        "estimate": dict(stage.estimate),
    }


def _progress(stage: StageState) -> str:
    if stage.state is State.DONE:
        counts = stage.manifest["counts"]
        names = [name for name in counts if _is_for_people(name, counts[name])]
        return ", ".join(f"{counts[name]:,} {name}" for name in sorted(names, key=_place))
    if stage.standing:
        share = stage.standing.done / stage.standing.asked if stage.standing.asked else 1.0
        return f"{stage.standing.done:,} of {stage.standing.asked:,} episodes ({share:.0%})"
    if stage.training:
        about = stage.training
        return f"step {about['step'] + 1}, epoch {about['epoch'] + 1}, loss {about['loss']:.3g}"
    return ", ".join(f"{value:g} {name}" for name, value in stage.estimate.items())


def _place(name: str) -> tuple[int, str]:
    """What is looked for first stands first."""
    first = ("episodes", "successes", "errors")
    return (first.index(name) if name in first else len(first), name)


def _is_for_people(name: str, value: Any) -> bool:
    return isinstance(value, int) and not name.endswith("tokens")


def _note(stage: StageState, now: float) -> str:
    if stage.state is State.DONE:
        return f"took {duration(stage.manifest['seconds'])}"
    parts = []
    standing = stage.standing
    if stage.state is State.RUNNING and standing:
        recent = standing.recent
        parts.append(f"{standing.in_flight:,} in flight")
        if recent.episodes_per_hour is not None:
            parts.append(f"{recent.episodes_per_hour:,.0f}/h")
        if recent.seconds and recent.prompt_tokens:
            used = recent.prompt_tokens + recent.completion_tokens
            parts.append(f"{used / recent.seconds:,.0f} tokens/s")
        if recent.cache_share is not None:
            parts.append(f"{recent.cache_share:.0%} cached")
        if standing.remaining_s is not None:
            parts.append(f"{duration(standing.remaining_s)} left")
    elif stage.state is not State.OWED and stage.last_change:
        parts.append(f"last written to {duration(now - stage.last_change)} ago")
    if stage.training.get("tokens_per_s"):
        parts.append(f"{stage.training['tokens_per_s']:,.0f} tokens/s")
    return ", ".join(parts)


def _finish(status: RunStatus) -> str:
    rest = ", ".join(f"{n} {kind}" for kind, n in status.not_in_remaining.items())
    beyond = f"; {rest} not counted" if rest else ""
    if status.remaining_s is None:
        return "when it will be done cannot be said: no rollout has a rate at the moment"
    return f"rollouts done about {clock(status.now + status.remaining_s, status.now)}, in {duration(status.remaining_s)}{beyond}"


def _who(status: RunStatus) -> str:
    at_work = {stage.writer for stage in status.running if stage.writer}
    elsewhere = {s.writer for s in status.stages if s.state is State.HELD and s.writer}
    last = status.last_progress
    ago = f"; last progress {duration(status.now - last)} ago" if last else ""
    if at_work or elsewhere:
        names = [str(writer) for writer in at_work] + [f"{w} (cannot be seen from here)" for w in elsewhere]
        return "at work: " + ", ".join(names) + ago
    return f"nobody is at work on a stage{ago}; `offbook run` goes on"


def _money(status: RunStatus) -> str:
    money = status.money
    if not money.unpriced:
        return f"{money.known:,.2f} USD so far"
    some = ", ".join(money.unpriced[:3]) + (", ..." if len(money.unpriced) > 3 else "")
    what = "1 stage" if len(money.unpriced) == 1 else f"{len(money.unpriced)} stages"
    return f"{money.known:,.2f} USD so far; no price is known for {what} ({some})"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
