"""What is measured: added up in the process, told on request, and next to free where nobody listens."""

import time

import pytest

from actors.host_meters import HostMeters
from actors.meters import MOST_OBSERVATIONS, Ledger, NoMeters
from actors.metrics import (
    EPISODES,
    LATENCY_S,
    METRICS,
    OWED,
    RETRIES,
    TOKENS,
    TURN_SECONDS,
    Metric,
)
from actors.player import EpisodePlayer, OneModel
from actors.rollout import Job
from actors.scripted import ScriptedModel
from actors.trajectory import EndReason
from envs.config import ScriptedConfig
from envs.registry import list_tasks, open_env

TAGS = {"arm": "base", "adapter": "none"}


@pytest.fixture
def ledger():
    return Ledger(common={"run": "r", "host": "h"})


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
    assert dict(ledger.take().gauges) == {(OWED, ("r",)): 13.0}
    queue.clear()
    assert dict(ledger.take().gauges) == {(OWED, ("r",)): 10.0}


def test_a_watched_counter_tells_what_it_grew_by(ledger):
    total = [0]
    ledger.watch(RETRIES, lambda: total[0])
    told = []
    for total[0] in (4, 4, 9):
        told.append(ledger.take().counts.get((RETRIES, ("r",)), 0.0))
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


def test_names_are_unique_and_histograms_have_bounds():
    assert len({metric.name for metric in METRICS}) == len(METRICS) > 20
    for metric in METRICS:
        assert metric.name.startswith("offbook_") and metric.help.endswith(".")
        assert (metric.kind == "histogram") == bool(metric.bounds)
    assert RETRIES.exported == "ray_offbook_retries_total"
    assert OWED.exported == "ray_offbook_episodes_owed"


async def test_a_player_measures_its_episodes(tmp_path, ledger):
    from test_rollout import ENV, MODEL, settings, specs_of

    bad = list_tasks(ENV)[3].id
    env = ENV.model_copy(update={"crash_on": (bad,)})
    lines = []

    async def write(batch):
        lines.extend(batch)

    job = Job(specs_of(env), settings(env=env), tmp_path)
    player = EpisodePlayer(job.play, OneModel(ScriptedModel(MODEL)), write, ledger)
    outcomes = [await player.play(spec, 0) for spec in specs_of(env)[:6]]
    ended = [outcome for outcome in outcomes if hasattr(outcome, "end")]
    delivery = ledger.take()
    counted = {(metric.name, tags): amount for (metric, tags), amount in delivery.counts.items()}
    assert counted["offbook_attempts_lost", ("r", "base", "h")] == len(outcomes) - len(ended) == 1
    assert sum(n for (name, _), n in counted.items() if name == EPISODES.name) == 5 == len(lines)
    assert counted[EPISODES.name, ("r", "base", "none", "h", "success")] == sum(o.success for o in ended)
    for kind in ("prompt", "cached", "completion"):
        assert counted[TOKENS.name, ("r", "base", "none", "h", kind)] == sum(
            getattr(o, f"{kind}_tokens") for o in ended
        )
    observed = {metric.name: values for (metric, _), values in delivery.observations.items()}
    assert len(observed[TURN_SECONDS.name]) == sum(o.num_turns for o in ended)
    assert len(observed["offbook_step_seconds"]) > 5
    assert sorted(observed["offbook_episode_turns"]) == sorted(o.num_turns for o in ended)
    gauges = {metric.name: value for (metric, _), value in delivery.gauges.items()}
    assert gauges == {"offbook_host_slots_busy": 0.0, "offbook_episodes_unwritten": 0.0}


async def test_a_given_up_episode_counts_as_an_error(tmp_path, ledger):
    from test_rollout import MODEL, settings, specs_of

    from actors.episode import lost_trajectory

    async def write(batch):
        pass

    player = EpisodePlayer(
        Job(specs_of(), settings(), tmp_path).play, OneModel(ScriptedModel(MODEL)), write, ledger
    )
    await player.record(lost_trajectory(specs_of()[0], "a", "m", "it broke", 1))
    [(_, tags)] = ledger.take().counts
    assert tags[-1] == EndReason.ERROR


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
