"""How long a server asks its callers to stay away, in each of the ways that servers say it."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_S = 24 * 3600.0
"""A longer wish is a broken clock rather than a wish."""


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds from `retry-after-ms` or `Retry-After`, a number or an HTTP date; None where neither says anything usable.

    A date is compared with the answer's own `Date`, so that two clocks that disagree do not matter; without one with `now` (Unix time).
    """
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _number(headers.get(name))
        if seconds is not None and 0 <= seconds / scale <= LONGEST_S:
            return seconds / scale
    until = _unix_time(headers.get("retry-after"))
    if until is None:
        return None
    sent = _unix_time(headers.get("date"))
    if sent is None:
        sent = time.time() if now is None else now
    return max(0.0, until - sent) if until - sent <= LONGEST_S else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _unix_time(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError):
        return None
