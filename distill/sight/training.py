"""Tells meters how training goes, from the file that the training loop writes anyway: the loop knows no meters."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from actors.meters import Meters
from actors.metrics import TRAIN_GRAD_NORM, TRAIN_LOSS, TRAIN_STEP, TRAIN_TOKENS, TRAIN_TOKENS_PER_S
from distill.run_metrics import METRICS

_GAUGES = (
    (TRAIN_STEP, "step"),
    (TRAIN_LOSS, "loss"),
    (TRAIN_GRAD_NORM, "grad_norm"),
    (TRAIN_TOKENS_PER_S, "tokens_per_s"),
)


class TrainingLog:
    """A growing `metrics.jsonl`, read on from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._forget()

    def last(self) -> Mapping[str, Any]:
        """The line of the last step; empty where there is none yet."""
        self._read_on()
        return self._last

    def value(self, name: str) -> float:
        """A figure of the last step; not a number where there is none."""
        return float(self.last().get(name, math.nan))

    def tokens(self) -> int:
        """Of all steps in the file."""
        self._read_on()
        return self._tokens

    def _forget(self) -> None:
        self._last: Mapping[str, Any] = {}
        self._tokens = self._read = 0

    def _read_on(self) -> None:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._read:
                    # A loop that goes on from a checkpoint has cut off the steps behind it.
                    self._forget()
                file.seek(self._read)
                new = file.read()
        except FileNotFoundError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._last = json.loads(line)
            self._tokens += int(self._last.get("tokens", 0))


@contextmanager
def training_shown(folders: Mapping[str, Path], meters: Meters) -> Iterator[None]:
    """While the block trains adapters (folders by name). Closes `meters`."""
    for name, folder in folders.items():
        _watch(TrainingLog(folder / METRICS), name, meters)
    try:
        yield
    finally:
        meters.close()


def _watch(log: TrainingLog, adapter: str, meters: Meters) -> None:
    for metric, key in _GAUGES:
        meters.watch(metric, partial(log.value, key), adapter=adapter)
    meters.watch(TRAIN_TOKENS, log.tokens, adapter=adapter)
