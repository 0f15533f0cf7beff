"""`Meters` that end up at the metrics port of the node, which Ray keeps open for a Prometheus server."""

import logging
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.util import metrics as ray_metrics

from actors.meters import Delivery, Ledger, Meters, NoMeters
from actors.metrics import RESTARTS, Metric

log = logging.getLogger(__name__)

# Ray forgets a gauge that is not set anew within two of its own intervals, which are 10 s unless set otherwise.
_EVERY_S = 5.0
_RANDOM_PART = re.compile(r"-[0-9a-f]{12}$")


class RayMeters:
    """Delivers from a thread of its own, so that an event loop that hangs is seen to hang."""

    def __init__(self, common: Mapping[str, str], every_s: float = _EVERY_S) -> None:
        self._ledger, self._every_s = Ledger(common=common), every_s
        self._instruments: dict[Metric, Any] = {}
        self._delivering = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._deliver_often, name="offbook-meters", daemon=True)
        self._thread.start()

    def count(self, metric: Metric, amount: float = 1.0, **tags: str) -> None:
        self._ledger.count(metric, amount, **tags)

    def observe(self, metric: Metric, value: float, **tags: str) -> None:
        self._ledger.observe(metric, value, **tags)

    def watch(self, metric: Metric, read: Callable[[], float], **tags: str) -> None:
        self._ledger.watch(metric, read, **tags)

    def close(self) -> None:
        if not self._over.is_set():
            self._over.set()
            self._deliver()

    def _deliver_often(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._deliver()
            except Exception:  # what is measured may break or Ray be gone; neither is a reason to stop measuring, still less to stop
                log.debug("metrics were not delivered", exc_info=True)

    def _deliver(self) -> None:
        with self._delivering:
            if ray.is_initialized():
                self._send(self._ledger.take())

    def _send(self, delivery: Delivery) -> None:
        for (metric, values), amount in delivery.counts.items():
            if amount > 0:
                self._instrument(metric).inc(amount, _tags(metric, values))
        for (metric, values), value in delivery.gauges.items():
            self._instrument(metric).set(value, _tags(metric, values))
        for (metric, values), observed in delivery.observations.items():
            instrument, tags = self._instrument(metric), _tags(metric, values)
            for value in observed:
                instrument.observe(value, tags)

    def _instrument(self, metric: Metric) -> Any:
        if metric not in self._instruments:
            about = {"name": metric.name, "description": metric.help, "tag_keys": metric.tags}
            if metric.kind == "histogram":
                self._instruments[metric] = ray_metrics.Histogram(boundaries=list(metric.bounds), **about)
            else:
                kind = ray_metrics.Counter if metric.kind == "counter" else ray_metrics.Gauge
                self._instruments[metric] = kind(**about)
        return self._instruments[metric]


def open_meters(**common: str) -> Meters:
    """Of this process: Ray's where it is part of a cluster, else none."""
    return RayMeters(common) if ray.is_initialized() else NoMeters()


def open_actor_meters(role: str, **common: str) -> Meters:
    """Those of an actor, which tells at once if it was started again."""
    meters = open_meters(**common)
    if _is_actor() and ray.get_runtime_context().was_current_actor_reconstructed:
        meters.count(RESTARTS, role=role)
    return meters


def actor_label() -> str:
    """What this actor is called in metrics: its name without what makes it unique in the cluster, else where it runs."""
    if not _is_actor():
        return "this process"
    context = ray.get_runtime_context()
    name = context.get_actor_name()
    return (
        _RANDOM_PART.sub("", name).removeprefix("offbook-") if name else f"node {context.get_node_id()[:8]}"
    )


def _is_actor() -> bool:
    return ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None


def _tags(metric: Metric, values: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(metric.tags, values, strict=True))
