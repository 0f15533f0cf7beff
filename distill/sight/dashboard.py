"""The Grafana dashboard, made from the list of metrics: `python -m distill.sight.dashboard` writes `dashboard.json` anew."""

import json
from collections.abc import Sequence
from pathlib import Path

from actors import metrics as m
from actors.metrics import Metric
from distill.sight.grafana import Panel, Query, document

FILE = Path(__file__).with_name("dashboard.json")
_WON, _PLAYED = 'outcome="success"', 'outcome!="error"'
_PROMPT, _CACHED = 'kind="prompt"', 'kind="cached"'


def text() -> str:
    runs = f"label_values({m.OWED.exported}, run)"
    return json.dumps(document("Offbook", rows(), runs), indent=1) + "\n"


def rows() -> dict[str, tuple[Panel, ...]]:
    """Panels by the row in which they stand."""
    return {
        "Progress": _progress(),
        "Engines": _engines(),
        "Hosts": _hosts(),
        "Faults": _faults(),
        "Training": _training(),
    }


def _progress() -> tuple[Panel, ...]:
    return (
        Panel(
            title="Episodes an hour",
            queries=(_query(f"3600 * {_rate(m.EPISODES, 'arm')}", "{{arm}}"),),
        ),
        Panel(
            title="Owed and in flight",
            queries=(
                _query(_sum(m.OWED, "rollout"), "{{rollout}} owed"),
                _query(_sum(m.IN_FLIGHT, "rollout"), "{{rollout}} in flight"),
            ),
        ),
        Panel(
            title="Ended so far, by outcome",
            about="Since the oldest process that still counts began; a restarted run counts from there.",
            queries=(_query(_sum(m.EPISODES, "outcome"), "{{outcome}}"),),
        ),
        Panel(
            title="Share that succeeded (unadjusted)",
            unit="percentunit",
            about="Of the last half hour's episodes. No result: short episodes end first, and arms play tasks of different kinds at a time.",
            queries=(
                _query(
                    f"{_rate(m.EPISODES, 'arm', _WON, window='30m')} / "
                    f"{_rate(m.EPISODES, 'arm', _PLAYED, window='30m')}",
                    "{{arm}}",
                ),
            ),
        ),
        Panel(
            title="Since an episode last ended or was lost",
            unit="s",
            queries=(_query(f"max by (rollout) ({_series(m.SILENT)})", "{{rollout}}"),),
        ),
        Panel(title="Turns of an episode", queries=_quantiles(m.EPISODE_TURNS, "arm")),
    )


def _engines() -> tuple[Panel, ...]:
    by_engine = "{{engine}}"
    return (
        Panel(
            title="Calls running and waiting",
            queries=(
                _query(_sum(m.ENGINE_RUNNING, "engine"), f"{by_engine} running"),
                _query(_sum(m.ENGINE_WAITING, "engine"), f"{by_engine} waiting"),
            ),
        ),
        Panel(
            title="Engines' tokens a second",
            about="Prompts count whole at every call; what the cache served is among them.",
            queries=(_query(_rate(m.ENGINE_TOKENS, "kind"), "{{kind}}"),),
        ),
        Panel(
            title="Prompt tokens from the cache, by engine",
            unit="percentunit",
            queries=(_query(_cached_share(m.ENGINE_TOKENS, "engine"), by_engine),),
        ),
        Panel(
            title="Idle share",
            unit="percentunit",
            about="Time without a call. An engine that idles while episodes are owed waits for hosts.",
            queries=(_query(_rate(m.ENGINE_IDLE, "engine"), by_engine),),
        ),
        Panel(title="Calls a second", queries=(_query(_rate(m.ENGINE_CALLS, "engine"), by_engine),)),
        Panel(
            title="Tokens a second, by arm and adapter",
            about="As the hosts count them, whoever serves the model.",
            queries=(_query(_rate(m.TOKENS, "arm, adapter, kind"), "{{arm}} {{adapter}} {{kind}}"),),
        ),
        Panel(
            title="Prompt tokens from the cache, by arm",
            unit="percentunit",
            queries=(_query(_cached_share(m.TOKENS, "arm"), "{{arm}}"),),
        ),
    )


def _hosts() -> tuple[Panel, ...]:
    return (
        Panel(title="Busy slots", queries=(_query(_sum(m.SLOTS_BUSY, "host"), "{{host}}"),)),
        Panel(title="A turn's model call", unit="s", queries=_quantiles(m.TURN_SECONDS, "arm")),
        Panel(title="A step of the world", unit="s", queries=_quantiles(m.STEP_SECONDS, "run")),
        Panel(
            title="Ended episodes that wait for the disk",
            queries=(_query(_sum(m.UNWRITTEN, "host"), "{{host}}"),),
        ),
        Panel(title="A write to the disk", unit="s", queries=_quantiles(m.WRITE_SECONDS, "run")),
        Panel(title="Episodes written a second", queries=(_query(_rate(m.WRITTEN, "run"), "{{run}}"),)),
    )


def _faults() -> tuple[Panel, ...]:
    return (
        Panel(
            title="Retries a minute",
            queries=(_query(f"60 * {_rate(m.RETRIES, 'rollout')}", "{{rollout}}"),),
        ),
        Panel(
            title="Lost attempts a minute",
            queries=(_query(f"60 * {_rate(m.LOST, 'host')}", "{{host}}"),),
        ),
        Panel(
            title="Episodes given up, so far",
            about="Recorded as errors; the next start plays them again.",
            queries=(_query(_sum(m.GIVEN_UP, "rollout"), "{{rollout}}"),),
        ),
        Panel(
            title="Alive",
            about="Processes that told of themselves in the last twenty seconds.",
            queries=(
                _query(f"count({_series(m.ENGINE_RUNNING)})", "engines"),
                _query(f"count({_series(m.SLOTS_BUSY)})", "hosts"),
            ),
        ),
        Panel(
            title="Processes started again, so far",
            queries=(_query(_sum(m.RESTARTS, "role"), "{{role}}"),),
        ),
    )


def _training() -> tuple[Panel, ...]:
    by_adapter = "{{adapter}}"
    return (
        Panel(title="Loss by token", queries=(_query(_series(m.TRAIN_LOSS), by_adapter),)),
        Panel(
            title="Tokens a second, last step", queries=(_query(_series(m.TRAIN_TOKENS_PER_S), by_adapter),)
        ),
        Panel(title="Norm of the gradient", queries=(_query(_series(m.TRAIN_GRAD_NORM), by_adapter),)),
        Panel(title="Optimiser steps", queries=(_query(_series(m.TRAIN_STEP), by_adapter),)),
        Panel(
            title="Tokens a second, all in",
            about="Start-up, checkpoints and verification included.",
            queries=(_query(_rate(m.TRAIN_TOKENS, "adapter"), by_adapter),),
        ),
    )


def _query(expr: str, legend: str) -> Query:
    return Query(expr=expr, legend=legend)


def _series(metric: Metric, *filters: str, part: str = "") -> str:
    """Its time series, of the chosen runs where it knows runs."""
    of_run = ('run=~"$run"',) if "run" in metric.tags else ()
    inside = ",".join((*of_run, *filters))
    return f"{metric.exported}{part}" + (f"{{{inside}}}" if inside else "")


def _sum(metric: Metric, by: str) -> str:
    return f"sum by ({by}) ({_series(metric)})"


def _rate(metric: Metric, by: str, *filters: str, window: str = "$__rate_interval") -> str:
    """A second."""
    return f"sum by ({by}) (rate({_series(metric, *filters)}[{window}]))"


def _cached_share(tokens: Metric, by: str) -> str:
    return f"{_rate(tokens, by, _CACHED)} / {_rate(tokens, by, _PROMPT)}"


def _quantiles(metric: Metric, by: str, shares: Sequence[float] = (0.5, 0.95)) -> tuple[Query, ...]:
    buckets = _series(metric, part="_bucket")
    return tuple(
        Query(
            expr=f"histogram_quantile({share:g}, sum by (le, {by}) (rate({buckets}[$__rate_interval])))",
            legend=f"{{{{{by}}}}} p{share * 100:g}",
        )
        for share in shares
    )


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
