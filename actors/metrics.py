"""Everything that a run tells a metrics server, by name. The dashboard is made from this list, so that neither names what the other lacks.

Names here are without what Ray adds on the way: `ray_` before all of them, `_total` behind counters, and `_bucket`, `_sum`, `_count`
behind histograms. Knows neither Ray nor who measures.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

LATENCY_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Bounds of histograms of seconds: a step of a world takes microseconds to milliseconds, a turn up to `turn_timeout_s`."""
NO_ADAPTER = "none"
"""The tag of the base model."""
TURNS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 200.0)


# Compared by identity: metrics are keys of dictionaries that are written to at every turn.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One time series for each combination of its tags."""

    name: str
    kind: Kind
    help: str
    tags: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets."""

    @property
    def exported(self) -> str:
        """As a query names it; of a histogram, what its parts begin with."""
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


def _counter(name: str, help_: str, *tags: str) -> Metric:
    return Metric(name=f"offbook_{name}", kind="counter", help=help_, tags=tags)


def _gauge(name: str, help_: str, *tags: str) -> Metric:
    return Metric(name=f"offbook_{name}", kind="gauge", help=help_, tags=tags)


def _histogram(name: str, help_: str, bounds: tuple[float, ...], *tags: str) -> Metric:
    return Metric(name=f"offbook_{name}", kind="histogram", help=help_, tags=tags, bounds=bounds)


# The driver. Rollouts of one run may go on side by side, in one process.
OWED = _gauge("episodes_owed", "Episodes of a rollout that have not ended.", "run", "rollout")
IN_FLIGHT = _gauge("episodes_in_flight", "Episodes that the driver has given to hosts.", "run", "rollout")
SILENT = _gauge("silent_seconds", "Seconds since an episode last ended or was lost.", "run", "rollout")
RETRIES = _counter(
    "retries", "Attempts that were lost and played again with the same seed.", "run", "rollout"
)
GIVEN_UP = _counter(
    "episodes_given_up", "Episodes recorded as errors after all their retries.", "run", "rollout"
)
EPISODES = _counter(
    "episodes",
    "Episodes that are on disk. Outcome: success, the reason of a failure's end, or error.",
    *("run", "arm", "adapter", "host", "outcome"),
)
LOST = _counter("attempts_lost", "Attempts that left nothing.", "run", "arm", "host")
EPISODE_TURNS = _histogram("episode_turns", "Model calls of an episode that ended.", TURNS, "run", "arm")

# The hosts. What they measured in the seconds before they were stopped is lost.
TOKENS = _counter(
    "tokens",
    "Tokens of model calls. Kind: prompt (whole, at every call), cached (of these, from the prefix cache), completion.",
    *("run", "arm", "adapter", "host", "kind"),
)
TURN_SECONDS = _histogram(
    "turn_seconds", "One model call, from the host that asks to its reply.", LATENCY_S, "run", "arm", "host"
)
STEP_SECONDS = _histogram("step_seconds", "One reset or step of a world.", LATENCY_S, "run", "host")
SLOTS_BUSY = _gauge("host_slots_busy", "Slots of a host with an episode in them.", "run", "host")
UNWRITTEN = _gauge("episodes_unwritten", "Ended episodes that wait in a host for the disk.", "run", "host")

# The writer.
WRITTEN = _counter("episodes_written", "Episodes that the writer has put on disk.", "run")
WRITE_SECONDS = _histogram("write_seconds", "One batch of episodes, until it is on disk.", LATENCY_S, "run")

# The engines. They serve several runs and arms at a time.
ENGINE_RUNNING = _gauge("engine_calls_running", "Calls that an engine decodes.", "engine")
ENGINE_WAITING = _gauge(
    "engine_calls_waiting", "Calls beyond `max_num_seqs`, which wait for a place.", "engine"
)
ENGINE_CALLS = _counter("engine_calls", "Calls that an engine has answered.", "engine")
ENGINE_TOKENS = _counter(
    "engine_tokens", "Tokens of an engine's calls; kinds as of `offbook_tokens`.", "engine", "kind"
)
ENGINE_IDLE = _counter("engine_idle_seconds", "Seconds in which an engine had no call.", "engine")

# All processes.
RESTARTS = _counter(
    "restarts",
    "Processes that Ray started again after they died; hosts recycled on purpose do not count.",
    "role",
)

# Training, as the loop's own log file tells it.
TRAIN_STEP = _gauge("train_step", "Optimiser steps taken.", "run", "adapter")
TRAIN_LOSS = _gauge("train_loss", "Loss of the last optimiser step, by token.", "run", "adapter")
TRAIN_GRAD_NORM = _gauge("train_grad_norm", "Norm of the last step's gradient.", "run", "adapter")
TRAIN_TOKENS_PER_S = _gauge("train_tokens_per_second", "Tokens a second of the last step.", "run", "adapter")
TRAIN_TOKENS = _counter(
    "train_tokens", "Tokens trained on, as far as this process has seen.", "run", "adapter"
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
