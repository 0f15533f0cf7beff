"""Shows a rollout while it runs: a line a minute in the log, a small file in its folder every ten seconds, and gauges.

The file is there for other processes (`offbook status`), which need neither Ray nor this one's help to read it. It holds counters only,
decides nothing, and is gone when the rollout has ended: what a rollout leaves does not depend on it.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from actors.driver import Progress
from actors.meters import Meters, NoMeters
from actors.metrics import GIVEN_UP, IN_FLIGHT, OWED, RETRIES, SILENT
from actors.process_mark import ProcessMark
from actors.standing import Standing, Window
from actors.status_line import status_line

log = logging.getLogger(__name__)

PROGRESS = "progress.json"
BEAT_S = 10.0
_LINE_S = 60.0


class RolloutSight:
    """Of one rollout, which may have several drivers, one after the other."""

    def __init__(
        self,
        folder: Path | None,
        name: str,
        *,
        asked: int,
        owed: int,
        beat_s: float = BEAT_S,
        line_s: float = _LINE_S,
    ) -> None:
        """`folder`: None for one that is no path of this machine; the file is then left out."""
        self._folder, self._name, self._asked, self._before = folder, name, asked, asked - owed
        self._beat_s, self._line_s = beat_s, line_s
        self._states: list[Progress] = []
        self._window = Window()
        self._began = time.time()
        self._mark = ProcessMark.here()
        self.meters: Meters = NoMeters()
        """Of the process in which it is shown."""

    def follow(self, state: Progress) -> None:
        """A driver's counters, from now on among those that are shown."""
        self._states.append(state)

    @asynccontextmanager
    async def shown(self, meters: Meters | None = None) -> AsyncIterator[None]:
        """While the block runs. One that fails leaves the file behind, which then says why."""
        self.meters = meters or NoMeters()
        self._measure(self.meters)
        self._write("running")
        over = asyncio.Event()
        beating = asyncio.create_task(self._beat(over))
        state, reason = "writing its result", None
        try:
            yield
        except BaseException as error:
            state, reason = "stopped", _reason(error)
            raise
        finally:
            over.set()
            # Not cancelled: a write that a thread is in the middle of must not come behind the last one.
            [broken] = await asyncio.gather(beating, return_exceptions=True)
            if broken:
                log.warning("%s was no longer shown: %r", self._name, broken)
            log.info("%s", status_line(self.standing()))
            self._write(state, reason=reason)

    def end(self) -> None:
        """Take the file away. Before a stage's outputs are listed."""
        if self._folder is not None:
            for name in (PROGRESS, _draft(PROGRESS)):
                (self._folder / name).unlink(missing_ok=True)

    def standing(self) -> Standing:
        states, now = self._states, time.time()
        counted = {
            name: sum(getattr(state, name) for state in states)
            for name in ("ended", "prompt_tokens", "cached_tokens", "completion_tokens")
        }
        ends = [state.last_ended for state in states if state.last_ended is not None]
        return Standing(
            name=self._name,
            asked=self._asked,
            before=self._before,
            **counted,
            **{name: sum(getattr(s, name) for s in states) for name in _MORE},
            losses=dict(sum((Counter(state.losses) for state in states), Counter())),
            recent=self._window.read(*counted.values()),
            began=self._began,
            updated=now,
            last_ended=max(ends, default=None),
        )

    async def _beat(self, over: asyncio.Event) -> None:
        said = time.monotonic()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self._beat_s)
                return
            standing = self.standing()
            if time.monotonic() - said >= self._line_s:
                said = time.monotonic()
                log.info("%s", status_line(standing))
            # A shared disk may be slow, and the episodes must not wait for a file that nobody may read.
            await asyncio.to_thread(self._write, "running", standing)

    def _write(self, state: str, standing: Standing | None = None, reason: str | None = None) -> None:
        if self._folder is None:
            return
        standing = standing or self.standing()
        document = {
            "state": state,
            "reason": reason,
            "every_s": self._beat_s,
            "writer": self._mark.to_json(),
            **standing.to_json(),
        }
        draft = self._folder / _draft(PROGRESS)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(document) + "\n", encoding="utf-8")
            draft.replace(self._folder / PROGRESS)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._folder / PROGRESS, error)

    def _measure(self, meters: Meters) -> None:
        meters.watch(OWED, lambda: self._asked - self._before - self._sum("ended"))
        meters.watch(IN_FLIGHT, lambda: self._sum("in_flight"))
        meters.watch(RETRIES, lambda: self._sum("retries"))
        meters.watch(GIVEN_UP, lambda: self._sum("errors"))
        meters.watch(SILENT, self._silent_s)

    def _sum(self, name: str) -> int:
        return sum(getattr(state, name) for state in self._states)

    def _silent_s(self) -> float:
        return time.monotonic() - self._states[-1].last_event if self._states else 0.0


_MORE = ("successes", "errors", "retries", "in_flight", "turns")


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return "it was interrupted"
    return str(error) or type(error).__name__


def _draft(name: str) -> str:
    return f".{name}.partial"
