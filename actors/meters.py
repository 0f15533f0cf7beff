"""Where a process puts what it measures: nowhere, or at Ray's metrics. Measuring costs a dictionary entry; sending is another's business.

Made inside the process that measures, and never sent to another one.
"""

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from actors.metrics import Metric

Tags = tuple[str, ...]
"""Values of a metric's tags, in the metric's order."""
MOST_OBSERVATIONS = 1024
"""Of one series between two deliveries; of more, the first ones stand for all. Ray takes them one by one, microseconds each."""


class Meters(Protocol):
    """Tags that all of a process's metrics share are given once, when it is made; the others come with each call."""

    def count(self, metric: Metric, amount: float = 1.0, **tags: str) -> None: ...

    def observe(self, metric: Metric, value: float, **tags: str) -> None: ...

    def watch(self, metric: Metric, read: Callable[[], float], **tags: str) -> None:
        """Have a gauge, or a counter's total so far, read whenever values are delivered. `read` is called from another thread; what is
        not a number is not told."""
        ...

    def close(self) -> None:
        """Deliver what is held. Safe to call twice."""
        ...


class NoMeters:
    """For processes without Ray, and for tests."""

    def count(self, metric: Metric, amount: float = 1.0, **tags: str) -> None:
        pass

    def observe(self, metric: Metric, value: float, **tags: str) -> None:
        pass

    def watch(self, metric: Metric, read: Callable[[], float], **tags: str) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What came together since the last one."""

    counts: Mapping[tuple[Metric, Tags], float]
    gauges: Mapping[tuple[Metric, Tags], float]
    observations: Mapping[tuple[Metric, Tags], list[float]]


@dataclass(slots=True)
class _Watched:
    metric: Metric
    tags: Tags
    read: Callable[[], float]
    told: float = 0.0


@dataclass(slots=True)
class Ledger:
    """The `Meters` that adds up in this process and hands it on when asked."""

    common: Mapping[str, str] = field(default_factory=dict)
    """Tags that are the same for all that is measured here."""
    _counts: dict[tuple[Metric, Tags], float] = field(default_factory=lambda: defaultdict(float))
    _observations: dict[tuple[Metric, Tags], list[float]] = field(default_factory=lambda: defaultdict(list))
    _watched: list[_Watched] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, metric: Metric, amount: float = 1.0, **tags: str) -> None:
        key = metric, self._values(metric, tags)
        with self._lock:
            self._counts[key] += amount

    def observe(self, metric: Metric, value: float, **tags: str) -> None:
        key = metric, self._values(metric, tags)
        with self._lock:
            held = self._observations[key]
            if len(held) < MOST_OBSERVATIONS:
                held.append(value)

    def watch(self, metric: Metric, read: Callable[[], float], **tags: str) -> None:
        with self._lock:
            self._watched.append(_Watched(metric, self._values(metric, tags), read))

    def take(self) -> Delivery:
        """What has come since the last call; gauges anew at each, for a series that is not told again dies out."""
        with self._lock:
            watched = list(self._watched)
        # Before the rest is taken: a reading that fails must lose no counts.
        read = [(one, value) for one in watched if not math.isnan(value := float(one.read()))]
        with self._lock:
            counts, self._counts = self._counts, defaultdict(float)
            observations, self._observations = self._observations, defaultdict(list)
        gauges: dict[tuple[Metric, Tags], float] = {}
        for one, value in read:
            if one.metric.kind == "gauge":
                # Several of one name, such as rollouts side by side under one run, are one number.
                gauges[one.metric, one.tags] = gauges.get((one.metric, one.tags), 0.0) + value
            else:
                counts[one.metric, one.tags] += max(0.0, value - one.told)
                one.told = max(value, one.told)
        return Delivery(counts=counts, gauges=gauges, observations=observations)

    def close(self) -> None:
        pass

    def _values(self, metric: Metric, tags: Mapping[str, str]) -> Tags:
        common = self.common
        return tuple([tags[name] if name in tags else common[name] for name in metric.tags])
