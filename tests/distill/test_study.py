"""What a study is made of: stages, what they share, and what its settings must not be."""

import pytest
from pydantic import ValidationError

from distill.config import StudyConfig
from distill.study import plan_stages
from distill.task_choice import balanced, choose_panel
from envs.config import ScriptedConfig
from envs.registry import list_tasks

ENV = {"name": "scripted", "num_tasks": 100}


def study(**changes) -> StudyConfig:
    settings = {
        "name": "s",
        "env": ENV,
        "tasks": {"train": 20, "test": 10},
        "agent": {"prompt": "brief"},
        "model": {"kind": "scripted"},
        "writer": {"kind": "diagnostician"},
    }
    return StudyConfig.model_validate(settings | changes)


def keys(config: StudyConfig) -> dict[str, str]:
    return {stage.name: stage.key for stage in plan_stages(config).stages}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if after.get(name) != before[name]}


def test_every_stage_comes_after_its_inputs_and_all_arms_are_evaluated():
    stages = plan_stages(study(seeds=[0, 1])).stages
    seen: set[str] = set()
    for stage in stages:
        assert {source.key for source in stage.inputs.values()} <= seen
        seen.add(stage.key)
    evaluated = [stage.name for stage in stages if stage.name.startswith("eval-")]
    assert len(evaluated) == 12 and len({stage.key for stage in stages}) == len(stages)


def test_only_what_a_setting_decides_gets_a_new_key():
    before = keys(study())
    assert changed(before, keys(study(name="other", note="x", rollout={"num_hosts": 2}))) == set()
    assert changed(before, keys(study(budget={"turn_timeout_s": 5}))) == set()
    fits = {name for name in before if name.startswith("fit-")}
    students = {"eval-baseline-s0", "eval-distill-s0", "eval-best_of_2-s0"}
    assert changed(before, keys(study(train={"lr": 0.5}))) == fits | students
    by_hints = {"train-teacher", "rows-distill", "fit-distill-s0", "eval-distill-s0", "eval-teacher-s0"}
    assert changed(before, keys(study(retriever={"k": 1}))) == by_hints | {"eval-teacher_random-s0"}
    evaluations = {name for name in before if name.startswith("eval-")}
    assert changed(before, keys(study(sampling={"eval": {"temperature": 0.5}}))) == evaluations
    assert changed(before, keys(study(tasks={"train": 21, "test": 10}))) == set(before)


def test_a_limit_that_is_not_set_leaves_the_keys_of_recorded_studies_alone():
    """Taken from before there was one."""
    assert keys(study())["eval-base-s0"] == "132edeb7b12b0afd"
    assert changed(keys(study()), keys(study(budget={"max_invalid": 3})))


def test_a_wider_study_shares_the_stages_of_a_narrower_one():
    narrow, wide = keys(study(arms=["base", "teacher"])), keys(study(seeds=[0, 1, 2]))
    assert narrow.items() <= wide.items()
    assert not any(name.startswith(("fit", "rows", "train-teacher")) for name in narrow)


def test_controls_differ_from_what_they_control_only_in_what_they_should():
    plan = plan_stages(study())
    teacher, random = plan.evaluations["teacher", 0].config, plan.evaluations["teacher_random", 0].config
    differing = {key for key in teacher if teacher[key] != random[key]}
    assert differing == {"arm", "retriever"}
    assert random["retriever"] | {"name": "bm25"} == teacher["retriever"]
    base, reroll = plan.train_rollouts["base"].config, plan.train_rollouts["reroll"].config
    assert {key for key in base if base[key] != reroll[key]} == {"arm", "seed"}
    assert [source.name for source in plan.datasets["best_of_2"].inputs.values()] == [
        "train-base",
        "train-reroll",
    ]


OWN = {
    "k1": {"kind": "hinted", "retriever": {"k": 1}},
    "guarded": {"kind": "hinted", "retriever": {"name": "guard"}},
    "distill_hinted": {"kind": "hinted", "student": "distill"},
    "of_k1": {"kind": "student", "sources": ["k1"]},
    "mixed": {"kind": "student", "sources": ["teacher", "base"], "shortest": True},
    "matched": {"kind": "student", "sources": ["teacher"], "rows": "baseline", "hint_seen": "drop"},
    "unstripped": {"kind": "student", "sources": ["teacher"], "strip": False},
}


def test_a_study_names_arms_of_its_own():
    config = study(arm=OWN, arms=["base", "teacher", "baseline", "distill", *OWN], retriever={"k": 5})
    plan = plan_stages(config)
    assert list(plan.train_rollouts) == ["base", "teacher", "k1"]
    k1, teacher = plan.evaluations["k1", 0].config, plan.evaluations["teacher", 0].config
    assert {key for key in k1 if k1[key] != teacher[key]} == {"arm", "retriever"}
    assert k1["retriever"] == teacher["retriever"] | {"k": 1} and teacher["retriever"]["k"] == 5
    assert plan.train_rollouts["k1"].config["retriever"] == k1["retriever"]
    hinted = plan.evaluations["distill_hinted", 0]
    assert hinted.inputs["adapter"] == plan.fits["distill", 0] and "bank" in hinted.inputs
    assert [stage.name for stage in plan.datasets["mixed"].inputs.values()] == ["train-teacher", "train-base"]
    assert plan.datasets["mixed"].config["selection"] == {"shortest": True}
    assert plan.datasets["matched"].inputs["as_many_as"] == plan.datasets["baseline"]
    assert plan.datasets["unstripped"].config["selection"] == {"strip": False}
    keys = [stage.key for stage in plan.datasets.values()]
    assert len({*keys}) == len(keys) == 6
    stages, seen = plan.stages, set()
    for stage in stages:
        assert {source.key for source in stage.inputs.values()} <= seen, stage.name
        seen.add(stage.key)


def test_arms_that_do_the_same_share_their_stages_whatever_they_are_called():
    alone = keys(study())
    again = study(
        arms=["base", "again", "pupil"],
        arm={"again": {"kind": "hinted"}, "pupil": {"kind": "student", "sources": ["again"]}},
    )
    same = keys(again)
    assert same["eval-again-s0"] == alone["eval-teacher-s0"]
    assert same["eval-pupil-s0"] == alone["eval-distill-s0"]
    one = study(arms=["base", "x"], arm={"x": {"kind": "hinted", "retriever": {"k": 1}}})
    other = study(arms=["base", "y"], arm={"y": {"kind": "hinted"}}, retriever={"k": 1})
    assert keys(one)["eval-x-s0"] != keys(other)["eval-y-s0"]  # y is what that study calls its teacher
    assert (
        keys(other)["eval-y-s0"]
        == keys(study(arms=["base", "teacher"], retriever={"k": 1}))["eval-teacher-s0"]
    )


def test_a_students_evaluations_stand_together_so_that_weights_are_swapped_once():
    config = study(arm=OWN, arms=["base", *OWN, "distill", "baseline", "teacher"])
    names = [stage.name for stage in plan_stages(config).stages if stage.name.startswith("eval-")]
    players = [name for name in names if name.startswith("eval-distill")]
    assert names.index(players[1]) == names.index(players[0]) + 1


def test_tasks_are_balanced_over_kinds_and_do_not_depend_on_the_order_of_the_listing():
    tasks = list_tasks(ScriptedConfig(num_tasks=100), "train")
    chosen = balanced(tasks, 12, "train")
    assert chosen == balanced(tasks[::-1], 12, "train")
    counts = [sum(task.kind == kind for task in chosen) for kind in {task.kind for task in tasks}]
    assert sum(counts) == 12 and max(counts) - min(counts) <= 1


def test_more_tasks_than_there_are_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"asked for 5000 tasks of split 'train' but the data holds \d+"):
        choose_panel("p", 5000, "train", ScriptedConfig(num_tasks=100))


def _own(**arm):
    return {"arms": ["base", "baseline", "distill", "x"], "arm": {"x": arm}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 0]}, "different numbers"),
        ({"seeds": []}, "one or more"),
        ({"arms": ["teacher"]}, "must hold 'base'"),
        ({"arms": ["base", "base"]}, "twice"),
        ({"generate": {"make": "shop"}}, "env.name = 'scripted' plays; remove the .generate. table"),
        (
            {"env": {"name": "webshop"}, "generate": {"make": "households"}},
            "use make = 'shop' or remove the .generate. table",
        ),
        ({"env": {"name": "webshop"}}, "env.catalogue is empty and there is no .generate. table"),
        ({"env": {"name": "alfworld"}}, "env.games is empty and there is no .generate. table"),
        ({"model": {"kind": "openai", "model": "m"}}, "cannot serve"),
        ({"name": "Not a name"}, "pattern"),
        ({"arms": ["base", "k1"]}, "neither built in"),
        ({"arm": {"k1": {"kind": "hinted"}}}, "is not played"),
        ({"arm": {"teacher": {"kind": "hinted"}}}, "give yours another name"),
        ({"arm": {"Not ok": {"kind": "hinted"}}}, "pattern"),
        ({"statistics": {"comparisons": [["distill", "nobody"]]}}, "'nobody', which is no arm"),
        (_own(kind="hinted", student="teacher"), "is no student arm of the study; it has baseline, distill"),
        (_own(kind="student", sources=["distill"]), "whose successes cannot be had"),
        (_own(kind="student", sources=[]), "at least 1"),
        (_own(kind="student", sources=["base"], rows="x"), "no other student arm"),
        (_own(kind="student", sources=["base"], rows="teacher"), "no other student arm"),
        (_own(kind="student", sources=["base"], hint_seen="drop"), "nobody among its sources"),
    ],
)
def test_settings_that_make_no_study_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        study(**changes)


def test_hints_may_be_written_from_another_agents_failures():
    # Another prompt makes another agent.
    own, other = study(), study(hints_from={"prompt": "full"})
    assert keys(study(hints_from={"prompt": "brief"})) == keys(own), "its own agent, named"
    plan = plan_stages(other)
    assert plan.mined is not None and plan.hints.inputs["base"] is plan.mined
    assert plan.mined.config["agent"] != plan.train_rollouts["base"].config["agent"]
    assert plan.mined.key == plan_stages(study(agent={"prompt": "full"})).train_rollouts["base"].key
    differs = changed(keys(own), keys(other))
    assert {"hints", "train-teacher", "eval-teacher-s0", "rows-distill"} <= differs
    assert not {"train-base", "rows-baseline", "eval-base-s0", "train-reroll"} & differs


def test_a_study_of_another_agents_hints_alone_plays_no_rollouts_of_its_own():
    plan = plan_stages(study(arms=["base", "teacher"], hints_from={"prompt": "full"}))
    assert [stage.name for stage in plan.stages][:3] == ["tasks", "train-mined", "hints"]
    assert plan.train_rollouts == {}
