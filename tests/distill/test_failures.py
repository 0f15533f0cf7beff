"""The failure taxonomy: what each rule sees, and where base's failures go."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package

from finished_runs import SCRIPTED, finished_run

from actors.trajectory import EndReason, Turn
from distill import cli
from distill.failures import MEANINGS, SEARCHES, flow, marks_of, meaning, read_outcomes
from distill.hints.rules import RULES, rules_for
from distill.run_folder import open_run
from envs.registry import SPECS


def turn(action, observation="Nothing new.", **changes):
    return Turn(**({"reply": action or "think: x", "action": action, "observation": observation} | changes))


@pytest.fixture
def lost(panel_of, trajectory_of):
    task = panel_of(1).tasks[0]
    return lambda *turns, **changes: trajectory_of(
        replace(task, goal="put some apple on shelf."), success=False, turns=tuple(turns), **changes
    )


@pytest.fixture
def purchase(lost, panel_of):
    shop = replace(
        panel_of(1).tasks[0], env="webshop", goal="i want a red shoe, and price lower than 30.00 dollars"
    )
    bought = (turn("search[red shoe]"), turn("click[Buy Now]"))
    return lambda **parts: replace(
        lost(*bought, end=EndReason.DONE), task=shop, parts=tuple(sorted(parts.items()))
    )


def test_an_episode_that_went_nowhere_never_searched(lost):
    nowhere = lost(
        *[turn("look"), turn("go to mars", "Nothing happens.", valid=False)] * 3, end=EndReason.STEP_LIMIT
    )
    assert marks_of(nowhere)[0] == "never_searched" and "refused" in marks_of(nowhere)
    somewhere = lost(
        turn("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see nothing."), *nowhere.turns
    )
    assert "never_searched" not in marks_of(somewhere)


def test_the_wrong_object_outranks_the_limit_that_ended_it(lost):
    found = marks_of(
        lost(
            turn("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a book 1."),
            turn("take book 1 from shelf 1", "You pick up the book 1 from the shelf 1."),
            end=EndReason.STEP_LIMIT,
        )
    )
    assert (found[0], found[-1]) == ("take_named", "step_limit")


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (EndReason.STEP_LIMIT, "step_limit"),
        (EndReason.TOKEN_LIMIT, "token_limit"),
        (EndReason.REPETITION, "repetition"),
        (EndReason.REFUSALS, "refused"),
        (EndReason.DONE, "unexplained"),
    ],
)
def test_where_no_rule_tells_more_the_end_is_the_class(lost, end, expected):
    searched = turn("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see nothing.")
    assert marks_of(lost(searched, end=end)) == (expected,)


def test_half_of_the_actions_refused_is_a_class_and_less_is_not(lost):
    searched = turn("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see nothing.")
    refused = [turn(f"fly {n}", "Nothing happens.", valid=False) for n in range(2)]
    assert marks_of(lost(searched, *refused[:1], end=EndReason.STEP_LIMIT))[0] == "refused"
    assert marks_of(lost(searched, turn("look"), *refused[:1], end=EndReason.STEP_LIMIT))[0] == "step_limit"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"r_type": 0.5, "r_att": 0.5, "r_price": 0.0}, ["wrong_product", "wrong_price", "wrong_attribute"]),
        ({"r_type": 1.0, "r_option": 0.5, "r_att": 1.0, "r_price": 1.0}, ["wrong_option"]),
        ({"r_type": 1.0, "r_att": 1.0, "r_price": 0.0, "w_price": 0.2}, ["wrong_price"]),
        ({"r_type": 1.0, "r_att": 0.0, "r_price": 1.0, "title_score": 0.1}, ["wrong_attribute"]),
    ],
)
def test_the_shops_own_verdict_names_what_was_wrong(purchase, parts, expected):
    assert [mark for mark in marks_of(purchase(**parts)) if mark.startswith("wrong_")] == expected
    assert marks_of(purchase(**parts))[0] == expected[0]


def test_a_won_episode_has_no_marks_and_the_machinerys_error_no_class(lost, trajectory_of, panel_of):
    task = panel_of(2).tasks[1]
    outcomes = read_outcomes([lost(end=EndReason.ERROR), trajectory_of(task)])
    assert outcomes.num_errors == 1 and outcomes.marks == {(task.key, 0): ()} and not outcomes.classes


def test_every_environment_says_how_a_search_begins_and_every_habit_has_words():
    assert SEARCHES.keys() == SPECS.keys() == RULES.keys()
    assert all(meaning(habit, env) == MEANINGS[habit] for env in RULES for habit in rules_for(env).PHRASINGS)


def test_flow_adds_up_and_says_where_new_failures_come_from(lost, trajectory_of, panel_of):
    tasks = panel_of(6).tasks
    searched = turn("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see nothing.")
    nowhere = (turn("look"),)

    def outcomes(*kinds):
        turns = {"limit": (searched,), "nowhere": nowhere}
        return read_outcomes(
            trajectory_of(task, success=kind == "won", turns=turns.get(kind, (searched,)))
            for task, kind in zip(tasks, kinds, strict=False)
            if kind
        )

    found = flow(
        outcomes("limit", "limit", "nowhere", "won", "won", "limit"),
        outcomes("won", "nowhere", "nowhere", "nowhere", "won", None),
    )
    assert found.num_pairs == 5
    assert found.mended == {"step_limit": 1} and found.broken == {"never_searched": 1}
    assert found.both_lost == {("step_limit", "never_searched"): 1, ("never_searched", "never_searched"): 1}
    assert found.new == {"never_searched": 2}


def test_the_command_counts_what_the_records_hold(tmp_path, capsys):
    arms = ("base", "teacher", "teacher_random")
    run = finished_run(tmp_path, SCRIPTED.replace('["base", "teacher"]', json.dumps(arms)))
    assert cli.main(["failures", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    records = {arm: [t for r in open_run(run).evaluations(arm) for t in r.trajectories()] for arm in arms}
    classes = {arm["arm"]: arm["classes"] for arm in told["arms"]}
    for arm in told["arms"]:
        own = records[arm["arm"]]
        assert (arm["episodes"], arm["lost"]) == (len(own), sum(not t.success for t in own))
        assert sum(arm["classes"].values()) == arm["lost"]
    # Every trap of the scripted house is one of base's reasons, and the teacher's hints mend it.
    assert set(classes["base"]) <= {"open_chests", "wash_first", "second_one", "step_limit"}
    assert len(classes["base"]) >= 3 and classes["teacher"] == {} and classes["teacher_random"]
    won = {arm: {(t.task.key, t.seed) for t in own if t.success} for arm, own in records.items()}
    _check_flows(told, classes, won)
    assert told["flows"][0]["mended"] > 0
    assert cli.main(["failures", str(run), "--arm", "teacher"]) == 0
    shown = capsys.readouterr().out
    assert f"{told['flows'][0]['mended']} mended" in shown and MEANINGS["wash_first"] in shown
    assert "base -> teacher," in shown and "base -> teacher_random," not in shown
    assert cli.main(["failures", str(run), "--arm", "nobody"]) == 2
    assert "it has base, teacher" in capsys.readouterr().err


def test_what_an_arm_breaks_is_new_in_it(tmp_path, capsys):
    run = finished_run(tmp_path)
    # The teacher's episodes under base's name and the reverse: an arm that breaks what it touches.
    text = (run / "run.json").read_text()
    for one, other in (("base", "?"), ("teacher", "base"), ("?", "teacher")):
        text = text.replace(f'"eval-{one}-s', f'"eval-{other}-s')
    (run / "run.json").write_text(text)
    assert cli.main(["failures", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    classes = {arm["arm"]: arm["classes"] for arm in told["arms"]}
    won = {
        arm: {
            (t.task.key, t.seed)
            for r in open_run(run).evaluations(arm)
            for t in r.trajectories()
            if t.success
        }
        for arm in classes
    }
    _check_flows(told, classes, won)
    assert told["flows"][0]["broken"] == sum(classes["teacher"].values()) > 0


def _check_flows(told, classes, won):
    for moved in told["flows"]:
        for row in moved["classes"]:
            before, here = (classes[arm].get(row["class"], 0) for arm in ("base", moved["arm"]))
            assert row["base"] == row["mended"] + row["kept"] + row["became_another"] == before
            assert row["arm"] == row["kept"] + row["new_from_won"] + row["new_from_another"] == here
        assert moved["mended"] == len(won[moved["arm"]] - won["base"])
        assert moved["broken"] == len(won["base"] - won[moved["arm"]])
