"""Retrieval in a study: what names a rollout stage, what its manifest counts, and what a second start asks again."""

import json

import pytest

from actors.chat import Completion
from distill.config import StudyConfig
from distill.hints.bank import ordered_bank
from distill.hints.config import RetrieverConfig
from distill.hints.hint import Hint
from distill.retrieval_run import RetrievalContext, retrieval_counts, retrieve, settings_of
from distill.stages import StageStore
from distill.study import plan_stages
from envs.config import ScriptedConfig
from envs.registry import list_tasks
from envs.scripted import KINDS

ENV = ScriptedConfig(num_tasks=40)
TASKS = list_tasks(ENV, "test")


def study(retriever, **changes) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "s",
            "env": {"name": "scripted", "num_tasks": 40},
            "tasks": {"train": 8, "test": 4},
            "arms": ["base", "teacher"],
            "agent": {"prompt": "brief"},
            "model": {"kind": "scripted"},
            "writer": {"kind": "diagnostician"},
            "retriever": retriever,
        }
        | changes
    )


def key(retriever, **changes) -> str:
    return plan_stages(study(retriever, **changes)).evaluations["teacher", 0].key


SAME = [
    ("bm25", {"seed": 5}),
    ("bm25", {"embedding_model": "x"}),
    ("bm25", {"llm": {"max_tokens": 50}}),
    ("guard", {"k": 1}),
    ("none", {"k": 1, "seed": 3}),
    ("oracle", {"k": 1}),
    ("frequent", {"seed": 1, "diversity": 0.1}),
    ("random", {"frequency_weight": 0.0}),
    ("other_kind", {"diversity": 0.0}),
    ("llm", {"frequency_weight": 0.0}),
    ("llm", {"llm": {"concurrency": 1, "timeout_s": 5, "max_attempts": 1}}),
]
OTHER = [
    ("bm25", {"frequency_weight": 0.0}),
    ("tfidf", {"k": 1}),
    ("lsa", {"diversity": 0.0}),
    ("frequent", {"k": 1}),
    ("random", {"seed": 1}),
    ("other_kind", {"k": 1}),
    ("shuffled", {"seed": 1}),
    ("filler", {"frequency_weight": 0.0}),
    ("llm", {"k": 1}),
    ("llm", {"llm": {"max_candidate_chars": 500}}),
    ("llm", {"llm": {"model": {"kind": "scripted", "skill": 0.9}}}),
    ("llm", {"llm": {"on_failure": "bm25"}}),
]


@pytest.mark.parametrize("name,change", SAME)
def test_settings_that_a_retriever_does_not_read_name_no_stage(name, change):
    assert key({"name": name}) == key({"name": name, **change})


@pytest.mark.parametrize("name,change", OTHER)
def test_settings_that_decide_what_is_given_do(name, change):
    assert key({"name": name}) != key({"name": name, **change})


def test_bm25_as_a_fallback_counts_with_its_settings():
    fallback = {"name": "llm", "llm": {"on_failure": "bm25"}}
    assert key(fallback) != key({**fallback, "frequency_weight": 0.0})


def test_every_retriever_has_a_stage_of_its_own():
    names = ["bm25", "tfidf", "lsa", "llm", "frequent", "none", "guard", "random"]
    names += ["other_kind", "shuffled", "filler", "oracle"]
    assert len({key({"name": name}) for name in names}) == len(names)


def test_what_names_a_stage_of_old_retrievers_has_not_changed():
    """Runs at hand stay valid: the five settings that there always were, those that are not read at their defaults."""
    assert RetrieverConfig().decisive == {
        "name": "bm25", "k": 3, "seed": 0, "frequency_weight": 3.0, "diversity": 0.75,
    }  # fmt: skip
    assert RetrieverConfig(name="guard", k=7, diversity=0).decisive == RetrieverConfig().decisive | {
        "name": "guard"
    }


def test_an_arm_of_ones_own_is_the_built_in_one_where_only_unread_settings_differ():
    arms = {"arms": ["base", "mine"], "arm": {"mine": {"kind": "hinted", "retriever": {"seed": 9}}}}
    mine = plan_stages(study({}, **arms)).evaluations["mine", 0]
    assert mine.key == plan_stages(study({})).evaluations["teacher", 0].key


class Fake:
    def __init__(self):
        self.num_asked = 0

    async def __call__(self, messages, sampling, *, session):
        self.num_asked += 1
        return Completion(
            text='{"numbers": [5, 2]}',
            prompt_tokens=50,
            cached_tokens=0,
            completion_tokens=4,
            finish_reason="stop",
        )


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """Retrieves for one stage of a study whose hints are made, in a store of its own."""
    fake = Fake()
    monkeypatch.setattr("actors.fleet_model.FleetModel", lambda fleet: fake)
    hints = [
        Hint(text=f"Advice {n}.", kind=kind, env="scripted", sources=(), writer="w")
        for kind in KINDS
        for n in range(9)
    ]

    def run(retriever, seed=0):
        config = study(retriever, seeds=[0, 1])
        store, stage = StageStore(tmp_path), plan_stages(config).evaluations["teacher", seed]
        for one in (stage, stage.inputs["bank"]):
            store.folder(one).mkdir(parents=True, exist_ok=True)
        ordered_bank(hints).save(store.folder(stage.inputs["bank"]) / "bank.parquet")
        context = RetrievalContext(config=config, env=ENV, tasks=TASKS, fleet_of=lambda model, rollout: None)
        return retrieve(stage, store.folder(stage), store, context), store.folder(stage)

    return run, fake


def test_what_choosing_costs_is_counted_by_episode_and_for_the_manifest(chosen):
    run, fake = chosen
    found, folder = run({"name": "llm", "k": 2})
    counts = retrieval_counts(found)
    assert counts["retrieval_prompt_tokens"] == 50 * len(TASKS)
    assert counts["retrieval_completion_tokens"] == 4 * len(TASKS)
    assert counts["retrieval_calls"] == fake.num_asked == len(TASKS)
    assert (
        counts["retrieval_fallbacks"] == counts["retrieval_tournaments"] == counts["retrieval_repairs"] == 0
    )
    lines = [json.loads(line) for line in (folder / "retrieval.jsonl").read_text().splitlines()]
    assert {line["task"] for line in lines} == {task.key for task in TASKS}
    assert all(line["prompt_tokens"] == 50 and len(line["hints"]) == 2 for line in lines)


def test_a_second_start_and_another_seed_ask_nothing_and_count_the_same(chosen):
    run, fake = chosen
    first, _ = run({"name": "llm", "k": 2})
    asked = fake.num_asked
    assert run({"name": "llm", "k": 2})[0] == first
    assert run({"name": "llm", "k": 2}, seed=1)[0] == first
    assert fake.num_asked == asked


def test_retrievers_that_ask_nobody_count_nothing(chosen):
    run, fake = chosen
    found, folder = run({"name": "bm25", "k": 2})
    assert retrieval_counts(found) == {} and not (folder / "retrieval.jsonl").exists() and not fake.num_asked
    assert all(len(one.hints) == 2 for one in found.values())


def test_the_oracle_of_a_stage_gives_the_plan_of_the_world(chosen):
    run, _ = chosen
    found, _ = run({"name": "oracle"})
    assert "go to hall" in found[TASKS[0]].hints[0].text
    assert len({one.hints for one in found.values()}) == len(TASKS)


def test_the_settings_of_a_stage_are_the_studys_with_those_that_decide_nothing(chosen):
    config = study({"name": "llm", "llm": {"concurrency": 3}})
    stage = plan_stages(config).evaluations["teacher", 0]
    assert settings_of(stage, config).llm.concurrency == 3
