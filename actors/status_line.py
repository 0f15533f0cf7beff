"""Where a rollout stands, in a line for people."""

from datetime import datetime

from actors.standing import Standing


def status_line(standing: Standing) -> str:
    """What the log says once a minute."""
    recent = standing.recent
    parts = [f"{standing.done:,} of {standing.asked:,} episodes", f"{standing.in_flight:,} in flight"]
    if recent.episodes_per_hour is not None:
        parts.append(f"{recent.episodes_per_hour:,.0f} episodes/h")
    if recent.seconds > 0 and recent.prompt_tokens:
        read = recent.prompt_tokens / recent.seconds
        parts.append(
            f"{read:,.0f} + {recent.completion_tokens / recent.seconds:,.0f} tokens/s read + written"
        )
    if recent.cache_share is not None:
        parts.append(f"{recent.cache_share:.0%} from cache")
    played = standing.ended - standing.errors
    if played > 0:
        # Short episodes end first, and those that succeed are short: early on the share is too high, and no result.
        parts.append(f"{standing.successes / played:.0%} won so far (unadjusted)")
    parts += [_number(standing.retries, "retry", "retries"), _number(standing.errors, "error", "errors")]
    return f"{standing.name}: " + ", ".join(parts) + _finish(standing)


def duration(seconds: float) -> str:
    """To two units, such as `3 h 20 min`."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def clock(unix: float, now: float) -> str:
    """A time of the day, with the day where it is another than today."""
    then = datetime.fromtimestamp(unix)
    same_day = then.date() == datetime.fromtimestamp(now).date()
    return then.strftime("%H:%M" if same_day else "%a %d %b %H:%M")


def _finish(standing: Standing) -> str:
    if not standing.owed:
        return "; all have ended"
    left = standing.remaining_s
    if left is None:
        return "; no episode has ended yet"
    return f"; done about {clock(standing.updated + left, standing.updated)}, in {duration(left)}"


def _number(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
