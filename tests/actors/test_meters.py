"""What is measured: added up in the process, told on request, and next to free where nobody listens."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from actors.host_meters import HostMeters
from actors.meters import MOST_OBSERVATIONS, Ledger, NoMeters
from actors.metrics import (
    EPISODE_TURNS,
    EPISODES,
    LATENCY_S,
    LOST,
    METRICS,
    OWED,
    RETRIES,
    SLOTS_BUSY,
    STEP_SECONDS,
    TOKENS,
    TURN_SECONDS,
    UNWRITTEN,
    Metric,
)
from actors.player import EpisodePlayer, OneModel
from actors.rollout import Job
from actors.scripted import ScriptedModel
from envs.config import ScriptedConfig
from envs.registry import open_env

TAGS = {"arm": "base", "adapter": "none"}


@pytest.fixture
def ledger():
    return Ledger(common={"run": "r", "rollout": "eval", "host": "h"})


def test_counts_of_equal_tags_are_added_and_told_once(ledger):
    ledger.count(TOKENS, 5, kind="prompt", **TAGS)
    ledger.count(TOKENS, 7, kind="prompt", **TAGS)
    ledger.count(TOKENS, 1, kind="cached", **TAGS)
    assert dict(ledger.take().counts) == {
        (TOKENS, ("r", "base", "none", "h", "prompt")): 12.0,
        (TOKENS, ("r", "base", "none", "h", "cached")): 1.0,
    }
    assert not ledger.take().counts


def test_a_gauge_is_read_at_every_delivery_and_adds_up_where_tags_are_equal(ledger):
    queue = [1, 2, 3]
    ledger.watch(OWED, lambda: len(queue))
    ledger.watch(OWED, lambda: 10)
    assert dict(ledger.take().gauges) == {(OWED, ("r", "eval")): 13.0}
    queue.clear()
    assert dict(ledger.take().gauges) == {(OWED, ("r", "eval")): 10.0}


def test_a_watched_counter_tells_what_it_grew_by(ledger):
    total = [0]
    ledger.watch(RETRIES, lambda: total[0])
    told = []
    for total[0] in (4, 4, 9):
        told.append(ledger.take().counts.get((RETRIES, ("r", "eval")), 0.0))
    assert told == [4.0, 0.0, 5.0]


def test_observations_are_kept_up_to_a_limit(ledger):
    for n in range(MOST_OBSERVATIONS + 5):
        ledger.observe(TURN_SECONDS, n, arm="base")
    [(key, observed)] = ledger.take().observations.items()
    assert key == (TURN_SECONDS, ("r", "base", "h"))
    assert observed == list(range(MOST_OBSERVATIONS))


def test_a_tag_that_nobody_gave_is_a_mistake_of_ours(ledger):
    with pytest.raises(KeyError, match="adapter"):
        ledger.count(TOKENS, 1, kind="prompt", arm="base")


def test_a_reading_that_fails_loses_no_counts(ledger):
    broken = [True]
    ledger.watch(OWED, lambda: 1 / (not broken[0]))
    ledger.count(RETRIES, 3)
    with pytest.raises(ZeroDivisionError):
        ledger.take()
    broken[0] = False
    assert ledger.take().counts[RETRIES, ("r", "eval")] == 3


async def test_an_engine_is_idle_between_calls_and_not_during_them(monkeypatch):
    from actors import engine as module

    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    engine = object.__new__(module.Engine)
    engine._merge, engine._running, engine._last_end, engine._idle_s = False, 0, 0.0, 0.0
    engine._turnstile = asyncio.Condition()
    readings = []
    for seconds, act in (
        (3, engine._enter),
        (2, engine._enter),
        (4, engine._leave),
        (1, engine._leave),
        (5, None),
    ):
        now[0] += seconds
        if act is not None:
            await (act(None, None) if act == engine._enter else act())
        readings.append(engine._seconds_idle())
    assert readings == [3, 3, 3, 3, 8]


def test_names_are_unique_and_histograms_have_bounds():
    assert len({metric.name for metric in METRICS}) == len(METRICS) > 20
    for metric in METRICS:
        assert metric.name.startswith("offbook_") and metric.help.endswith(".")
        assert (metric.kind == "histogram") == bool(metric.bounds)
    assert RETRIES.exported == "ray_offbook_retries_total"
    assert OWED.exported == "ray_offbook_episodes_owed"


async def test_a_player_measures_its_turns(tmp_path, ledger):
    from test_rollout import MODEL, settings, specs_of

    lines = []

    async def write(batch):
        lines.extend(batch)

    player = EpisodePlayer(
        Job(specs_of(), settings(), tmp_path).play, OneModel(ScriptedModel(MODEL)), write, ledger
    )
    ended = [await player.play(spec, 0) for spec in specs_of()[:6]]
    delivery = ledger.take()
    counted = {(metric, tags[-1]): amount for (metric, tags), amount in delivery.counts.items()}
    for kind in ("prompt", "cached", "completion"):
        assert counted[TOKENS, kind] == sum(getattr(one, f"{kind}_tokens") for one in ended) > 0
    observed = {metric: values for (metric, _), values in delivery.observations.items()}
    assert len(observed[TURN_SECONDS]) == sum(one.num_turns for one in ended)
    assert len(observed[STEP_SECONDS]) > 6
    assert {metric: value for (metric, _), value in delivery.gauges.items()} == {SLOTS_BUSY: 0, UNWRITTEN: 0}


async def test_a_driver_counts_its_episodes_by_outcome_and_what_was_lost(ledger):
    from test_driver import FakeHost, driver, specs_of

    host = FakeHost("host 0", loses=lambda task, lost: task == "k1" or (task == "k2" and lost == 0))
    await driver(specs_of(4), max_retries=1, meters=ledger).run([host], in_flight=2)
    delivery = ledger.take()
    assert dict(delivery.counts) == {
        (EPISODES, ("r", "base", "none", "host 0", "success")): 3,
        (EPISODES, ("r", "base", "none", "host 0", "error")): 1,
        (LOST, ("r", "base", "host 0")): 3,
    }
    assert dict(delivery.observations) == {(EPISODE_TURNS, ("r", "base")): [2, 2, 2]}


def test_without_meters_model_and_world_are_left_as_they_are():
    from test_rollout import MODEL, specs_of

    sight, model, env = HostMeters(meters=NoMeters()), ScriptedModel(MODEL), open_env(ScriptedConfig())
    assert sight.model(model, specs_of()[0]) is model
    assert sight.env(env) is env


def test_measuring_a_turn_costs_microseconds(ledger):
    """A turn is one observation of its latency, one of its step's, and three counts of tokens. The bound is for a machine that is busy."""
    metric = Metric(name="offbook_x", kind="histogram", help="x.", tags=("run", "host"), bounds=LATENCY_S)
    turns = 2000
    began = time.process_time()
    for _ in range(turns):
        ledger.observe(TURN_SECONDS, 0.5, arm="base")
        ledger.observe(metric, 0.001)
        for kind in ("prompt", "cached", "completion"):
            ledger.count(TOKENS, 100, kind=kind, **TAGS)
    assert (time.process_time() - began) / turns < 0.0002
