"""Where a run's numbers go while it runs: always `metrics.jsonl`, and the trackers that the study names."""

import logging
from collections.abc import Callable
from pathlib import Path

from distill.config import StudyConfig
from distill.run_metrics import append_metrics
from distill.stages import StageStore
from distill.study import StudyPlan
from distill.tracking.base import TrackerError, check_packages
from distill.tracking.feed import Feed

log = logging.getLogger(__name__)


class RunOutlets:
    """Of one study. A tracker that fails is dropped with a warning: its numbers are copies, a study is not stopped for them."""

    def __init__(self, run_dir: Path, config: StudyConfig, plan: StudyPlan, store: StageStore):
        check_packages(config.tracker)
        self._run_dir, self._plan, self._store = run_dir, plan, store
        self._feeds = [Feed(run_dir, name, config.tracker) for name in config.tracker.to]

    def update(self) -> None:
        """After a stage, and once before the first: what a killed run or another study has done is told as well."""
        append_metrics(self._run_dir, self._plan.stages, self._plan, self._store)
        self._tell(lambda feed: feed.send())

    def finish(self) -> None:
        """After the report."""
        self.update()
        self._tell(lambda feed: feed.finish())

    def _tell(self, told: Callable[[Feed], object]) -> None:
        for feed in tuple(self._feeds):
            try:
                told(feed)
            except TrackerError as error:
                log.warning("%s", error)
                self._feeds.remove(feed)
