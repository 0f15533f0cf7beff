"""Rollouts: what is owed, what a crash costs, what stops them. The Ray tests share one cluster and the scripted model."""

import pytest
from rollout_kills import Killer, played, played_at

from actors.chat import GenerateError, PromptTooLongError
from actors.config import (
    AgentConfig,
    BudgetConfig,
    EndpointConfig,
    EngineConfig,
    RolloutConfig,
    SamplingConfig,
    ScriptedModelConfig,
)
from actors.driver import RolloutError
from actors.episode import EpisodeSpec
from actors.fleet import Fleet
from actors.models import ModelError
from actors.place import place_of
from actors.player import OneModel
from actors.rollout import Asked, RolloutSettings, rollout, rollout_all, rollout_local
from actors.scripted import ScriptedModel
from actors.store import EPISODES, read_finished
from actors.trajectory import EndReason
from envs.config import ScriptedConfig
from envs.registry import list_tasks

ENV = ScriptedConfig(num_tasks=40)
MODEL = ScriptedModelConfig(skill=0.5)


def specs_of(env=ENV, **changes):
    return [EpisodeSpec(task=task, role="base", arm="base", seed=0, **changes) for task in list_tasks(env)]


def settings(*, env=ENV, model=MODEL, **config):
    return RolloutSettings(
        env=env,
        agent=AgentConfig(prompt="brief"),
        model=model,
        budget=BudgetConfig(max_steps=15),
        sampling=SamplingConfig(),
        rollout=RolloutConfig(**({"slots_per_host": 8, "flush_every_s": 0.05} | config)),
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    rollout_local(specs_of(), settings(), folder)
    return played(folder)


def test_every_episode_ends_once(unbroken):
    assert len(unbroken) == ENV.num_tasks
    assert 0 < sum(success for *_, success, _ in unbroken) < ENV.num_tasks


def test_the_second_start_plays_nothing(tmp_path):
    first = rollout_local(specs_of(), settings(), tmp_path)
    second = rollout_local(specs_of(), settings(), tmp_path)
    assert (first.played, second.played) == (ENV.num_tasks, 0)
    assert second.turns == first.turns > 0


def test_a_broken_run_goes_on_where_it_was(tmp_path, unbroken):
    rollout_local(specs_of()[:10], settings(), tmp_path)
    whole = (tmp_path / EPISODES).read_bytes()
    (tmp_path / EPISODES).write_bytes(whole[: int(len(whole) * 0.7)])
    summary = rollout_local(specs_of(), settings(), tmp_path)
    assert ENV.num_tasks - 10 < summary.played < ENV.num_tasks
    assert played(tmp_path) == unbroken


def test_slots_do_not_change_what_is_played(tmp_path, unbroken):
    rollout_local(specs_of(), settings(slots_per_host=1), tmp_path)
    assert played(tmp_path) == unbroken


def test_one_world_that_fails_is_one_error_and_owed_again(tmp_path):
    bad = list_tasks(ENV)[3].id
    env = ENV.model_copy(update={"crash_on": (bad,)})
    summary = rollout_local(specs_of(env), settings(env=env, max_retries=1), tmp_path)
    assert (summary.episodes, summary.errors, summary.retries) == (ENV.num_tasks, 1, 1)
    [error] = [t for t in read_finished(tmp_path) if t.end == EndReason.ERROR]
    assert error.task.id == bad
    assert "crash_on" in error.error
    assert error.retries == 1
    mended = rollout_local(specs_of(), settings(), tmp_path)
    assert (mended.played, mended.errors, mended.episodes) == (1, 0, ENV.num_tasks)


class Flaky:
    """Fails every n-th call."""

    def __init__(self, every, error):
        self.model, self.every, self.error, self.calls = ScriptedModel(MODEL), every, error, 0

    async def __call__(self, messages, sampling, *, session):
        self.calls += 1
        if self.calls % self.every == 0:
            raise self.error
        return await self.model(messages, sampling, session=session)


def test_lost_episodes_are_replayed_alike(tmp_path, unbroken):
    models = OneModel(Flaky(97, GenerateError("engine died", retryable=True)))
    summary = rollout_local(specs_of(), settings(max_retries=5), tmp_path, models=models)
    assert summary.retries > 0
    assert summary.errors == 0
    assert played(tmp_path) == unbroken


def test_a_prompt_that_is_too_long_ends_the_episode_and_is_no_error(tmp_path):
    models = OneModel(Flaky(3, PromptTooLongError("900 tokens, context 800")))
    summary = rollout_local(specs_of(), settings(), tmp_path, models=models)
    assert summary.errors == summary.retries == 0
    assert EndReason.TOKEN_LIMIT in {t.end for t in read_finished(tmp_path)}


def test_errors_after_errors_stop_the_run_and_keep_what_ended(tmp_path):
    rollout_local(specs_of()[:5], settings(), tmp_path)
    models = OneModel(Flaky(1, GenerateError("it refuses the API key", retryable=False)))
    with pytest.raises(RolloutError, match=r"refuses the API key.*start again"):
        rollout_local(specs_of(), settings(), tmp_path, models=models)
    summary = rollout_local(specs_of(), settings(), tmp_path)
    assert (summary.played, summary.errors) == (ENV.num_tasks - 5, 0)


def test_an_episode_asked_for_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="asked for twice; give each a seed"):
        rollout_local([*specs_of()[:2], specs_of()[1]], settings(), tmp_path)


def test_an_unreachable_endpoint_stops_the_run_with_its_address(tmp_path):
    model = EndpointConfig(model="m", base_url="http://127.0.0.1:9/v1", timeout_s=5, max_attempts=1)
    with pytest.raises(
        RolloutError, match=r"http://127\.0\.0\.1:9/v1 .*cannot be reached.*is the server running"
    ):
        rollout_local(specs_of(), settings(model=model, max_retries=0), tmp_path)


def test_a_missing_model_is_named_before_anything_starts():
    with pytest.raises(ModelError, match=r"model \./nowhere|model nowhere"):
        Fleet(EngineConfig(model="./nowhere"))


@pytest.mark.ray
def test_hosts_play_what_one_process_plays(ray_cluster, tmp_path, unbroken):
    seen = []
    summary = rollout(
        specs_of(), settings(num_hosts=2), tmp_path, progress=lambda state: seen.append(state.ended)
    )
    assert played(tmp_path) == unbroken
    assert (summary.played, summary.errors) == (ENV.num_tasks, 0)
    assert seen[-1] == ENV.num_tasks


@pytest.mark.ray
def test_rollouts_side_by_side_play_what_each_plays_alone(ray_cluster, tmp_path, unbroken):
    slow = MODEL.model_copy(update={"latency_s": 0.02})
    asked = [
        Asked(specs=specs, settings=settings(model=slow), out_dir=tmp_path / str(n))
        for n, specs in enumerate((specs_of(), specs_of()[:7], specs_of()))
    ]
    rollout(*_parts(asked[2]))
    with Fleet(slow) as fleet:
        summaries = rollout_all(asked, fleet, at_once=2)
    assert [summary.played for summary in summaries] == [ENV.num_tasks, 7, 0]
    assert played(tmp_path / "0") == played(tmp_path / "2") == unbroken
    assert len(played(tmp_path / "1")) == 7


@pytest.mark.ray
def test_one_rollout_that_cannot_go_on_stops_those_beside_it_and_keeps_what_ended(ray_cluster, tmp_path):
    slow = MODEL.model_copy(update={"latency_s": 0.5})
    broken = ENV.model_copy(update={"crash_on": tuple(task.id for task in list_tasks(ENV))})
    well = Asked(specs=specs_of(), settings=settings(model=slow), out_dir=tmp_path / "well")
    bad = Asked(
        specs=specs_of(broken),
        settings=settings(model=slow, env=broken, max_retries=0),
        out_dir=tmp_path / "bad",
    )
    with Fleet(slow) as fleet, pytest.raises(RolloutError, match="crash_on"):
        rollout_all([well, bad], fleet, at_once=2)
    assert len(played(tmp_path / "well")) < ENV.num_tasks
    rollout(specs_of(), settings(), tmp_path / "well")
    assert len(played(tmp_path / "well")) == ENV.num_tasks


def _parts(one):
    return one.specs, one.settings, one.out_dir


@pytest.mark.ray
def test_recycled_hosts_play_the_same(ray_cluster, tmp_path, unbroken):
    rollout(specs_of(), settings(recycle_after=15), tmp_path)
    assert played(tmp_path) == unbroken


@pytest.mark.ray
@pytest.mark.parametrize("victim", ["EnvHost", "Writer"])
def test_a_killed_process_costs_only_what_was_in_flight(ray_cluster, tmp_path, unbroken, victim):
    slow = MODEL.model_copy(update={"latency_s": 0.02})
    killer = Killer(victim, times=2)
    summary = rollout(
        specs_of(), settings(model=slow, num_hosts=2, slots_per_host=4), tmp_path, progress=killer.note
    )
    assert len(killer.killed) == 2
    assert summary.errors == 0
    assert summary.retries > 0 or victim == "Writer"
    assert played(tmp_path) == unbroken


@pytest.mark.ray
def test_at_an_address_a_killed_writer_loses_nothing(ray_cluster, tmp_path, unbroken):
    """As on an object store: parts, written by a process that may come back on any node."""
    slow = MODEL.model_copy(update={"latency_s": 0.02})
    address, killer = (tmp_path / "run").as_uri(), Killer("Writer", times=2)
    summary = rollout(
        specs_of(), settings(model=slow, num_hosts=2, slots_per_host=4), address, progress=killer.note
    )
    assert len(killer.killed) == 2
    assert (summary.episodes, summary.played, summary.errors) == (ENV.num_tasks, ENV.num_tasks, 0)
    assert played_at(place_of(address)) == unbroken
    assert rollout(specs_of(), settings(), address).played == 0


def test_at_an_address_it_plays_what_it_plays_in_a_folder(tmp_path, unbroken):
    address = (tmp_path / "run").as_uri()
    rollout_local(specs_of()[:15], settings(), address)
    summary = rollout_local(specs_of(), settings(), address)
    assert (summary.played, summary.episodes) == (ENV.num_tasks - 15, ENV.num_tasks)
    assert played_at(place_of(address)) == unbroken


@pytest.mark.ray
def test_too_few_hosts_are_an_error_and_no_endless_wait(ray_cluster, tmp_path):
    with pytest.raises(
        RolloutError, match=r"min_hosts = 99 env hosts need a CPU each and [0-4] found one .*lower"
    ):
        rollout(specs_of(), settings(num_hosts=99, min_hosts=99, join_timeout_s=8), tmp_path)


@pytest.mark.ray
def test_a_rollout_begins_with_the_hosts_that_found_room(ray_cluster, tmp_path, unbroken):
    rollout(specs_of(), settings(num_hosts=9), tmp_path)
    assert played(tmp_path) == unbroken
