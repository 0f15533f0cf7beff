"""Finished episodes on a filesystem without appending or renaming, such as an object store: numbered parts, none of which is changed.

A part is some JSON lines, one an episode. It is there in whole before its episodes count as written, so no node's loss loses one.
"""

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from actors.place import Place, PlaceError
from actors.retry import Again, Backoff

log = logging.getLogger(__name__)

_PREFIX, _SUFFIX = "part-", ".jsonl"
_PATIENCE_S = 120.0


class PartWriter:
    """Writes parts under a name of its own: one that a lost node's writer is replaced by never writes over what that one left."""

    def __init__(self, place: Place, backoff: Backoff = Backoff(max_attempts=6, max_delay_s=10.0)) -> None:
        place.make()
        self._place, self._backoff = place, backoff
        # By the time first, so that parts are read about in the order of writing.
        self._name = f"{_PREFIX}{time.time_ns() // 1_000_000:014d}-{uuid.uuid4().hex[:8]}"
        self._number = 0

    def append(self, lines: Iterable[str]) -> None:
        """On the other side when it returns. Raises `PlaceError` where that failed try after try."""
        content = "".join(f"{line}\n" for line in lines).encode()
        attempt, began = 0, time.monotonic()
        while True:
            attempt += 1
            # Each try has a name of its own: a part that broke off stays, and its whole lines are records like any.
            name = f"{self._name}-{self._number:06d}{_SUFFIX}"
            self._number += 1
            try:
                return self._place.put(name, content)
            except (OSError, PlaceError) as error:
                left_s = _PATIENCE_S - (time.monotonic() - began)
                decision = self._backoff.decide(
                    attempt=attempt, retryable=True, asked_s=None, remaining_s=left_s
                )
                if not isinstance(decision, Again):
                    raise PlaceError(
                        f"episodes could not be written to {self._place.path} in {attempt} tries: {error}; "
                        "what was written before is kept: mend the cause and start again"
                    ) from error
                log.warning("%s could not be written (%s), trying again", name, error)
                time.sleep(decision.delay_s)

    def close(self) -> None:
        """Nothing is held back."""


def part_names(place: Place) -> list[str]:
    """About in the order of writing."""
    return [name for name in place.names() if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]


def part_lines(place: Place, names: Sequence[str]) -> Iterator[bytes]:
    """Whole lines, one part after the other."""
    for name in names:
        with place.open(name) as lines:
            yield from (line for line in lines if line.endswith(b"\n"))


def fetch(place: Place, names: Sequence[str], journal: Path) -> None:
    """All parts as one file of this machine."""
    with journal.open("wb") as file:
        for line in part_lines(place, names):
            file.write(line)


def merge(place: Place, names: Sequence[str], journal: Path) -> None:
    """One part of all that `journal` holds in place of many, so that the next start asks for one file and not for thousands."""
    if len(names) < 2:
        return
    merged = f"{_PREFIX}{time.time_ns() // 1_000_000:014d}-merged{_SUFFIX}"
    # Whole before the others go; a crash in between leaves records twice, which count once.
    place.send(journal, merged)
    for name in names:
        place.delete(name)
