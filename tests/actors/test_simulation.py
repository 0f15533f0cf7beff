"""The simulated fleet: what it plays, what it is short of, and that the decisions under test are those that decide."""

import importlib.util
import sys

import pytest


@pytest.fixture(scope="module")
def simulate(repository):
    spec = importlib.util.spec_from_file_location("simulate", repository / "benchmarks" / "simulate.py")
    module = sys.modules["simulate"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["simulate"]


def played(simulate, **changes):
    settings = {
        "engines": 8, "in_flight": 800, "episodes": 2400, "hosts": 16, "kv_tokens": 200_000, "deaths_hour": 0.0,
    } | changes  # fmt: skip
    return simulate.Simulation(simulate.Settings(**settings)).run()


def without_clock(result):
    clock = ("real_s", "decisions_s_possible")
    kept = {name: value for name, value in result.items() if name not in clock}
    return kept | {"utilisation": {n: u for n, u in result["utilisation"].items() if n != "decisions"}}


def test_admission_by_kv_keeps_the_cache_that_none_throws_out(simulate):
    crowd = {"in_flight": 1600, "episodes": 4000}
    ours, none = played(simulate, **crowd), played(simulate, admission="none", **crowd)
    assert ours["cache_hit_rate"] > 0.95 > 0.7 > none["cache_hit_rate"]
    assert ours["simulated_s"] < 0.6 * none["simulated_s"]
    assert (ours["first_bottleneck"], none["first_bottleneck"]) == ("kv", "prefill")
    assert ours["mean_in_flight"] < 0.6 * none["mean_in_flight"]


def test_sticky_routing_reads_no_prompt_twice(simulate):
    roomy = {"kv_tokens": 2_000_000}
    ours, anywhere = played(simulate, **roomy), played(simulate, routing="random", **roomy)
    assert ours["cache_hit_rate"] > anywhere["cache_hit_rate"] + 0.1
    assert ours["utilisation"]["prefill"] < 0.5 * anywhere["utilisation"]["prefill"]


def test_dead_engines_cost_retries_and_no_episode(simulate):
    result = played(simulate, deaths_hour=20.0, away_s=20)
    assert result["engine_deaths"] > 2
    assert result["retries"] > 50
    assert result["errors"] == 0


def test_the_same_seed_plays_the_same(simulate):
    assert without_clock(played(simulate, episodes=1000)) == without_clock(played(simulate, episodes=1000))


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"kv_tokens": 2_000_000, "driver_ms_episode": 50.0}, "driver"),
        ({"kv_tokens": 2_000_000, "host_ms_turn": 100.0}, "hosts"),
        ({"kv_tokens": 2_000_000, "decode_tokens_s": 1500.0}, "decode"),
    ],
)
def test_what_is_short_is_named(simulate, changes, name):
    result = played(simulate, **changes)
    assert result["first_bottleneck"] == name
    assert result["utilisation"][name] > 0.85
