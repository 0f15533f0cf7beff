"""Recorded episodes played again: exactly, or with the first difference named, or on from a turn with one change."""

import json
import random
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package
sys.path.insert(0, str(Path(__file__).parent))

from finished_runs import finished_run
from openai_server import Server

from actors.chat import Completion
from actors.player import OneModel
from actors.store import TRAJECTORIES, read_finished
from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, from_row, to_row
from distill import cli
from distill.replay import replay
from distill.run_folder import find_by_id, find_by_task, open_run
from envs.registry import open_env

HOUSEHOLDS = """
name = "households"
arms = ["base"]
env = { name = "alfworld", accept_put = true }
generate = { make = "households", seed = 3, train = 6, test = 6, rooms = "small" }
agent = { prompt = "brief" }
model = { kind = "scripted" }
budget = { max_steps = 25 }
rollout = { flush_every_s = 0.05 }
writer = { kind = "diagnostician" }
"""


class Wanderer:
    """Does something with what it last saw, now and then something that the world refuses, and thinks aloud."""

    async def __call__(self, messages, sampling, *, session):
        rng = random.Random(sampling.seed)
        things = re.findall(r"\ba ([a-z]+ \d+)", messages[1].content.split("Your task")[0])
        place = rng.choice(things)
        seen = messages[-1].content
        choices = [
            f"go to {place}",
            f"go to {place}",
            f"open {place}",
            "think: where is it",
            "inventory",
            "fly",
        ]
        if at := re.search(r"(?:arrive at|On the|open the) ([a-z]+ \d+)", seen):
            here = re.findall(r"\ba ([a-z]+ \d+)", seen)
            choices = [f"take {thing} from {at[1]}" for thing in here] or [*choices, f"open {at[1]}"]
        if held := re.search(r"pick up the ([a-z]+ \d+)", seen):
            choices = [f"put {held[1]} in {place}", f"go to {place}"]
        return Completion(
            text=rng.choice(choices),
            prompt_tokens=9,
            cached_tokens=0,
            completion_tokens=3,
            finish_reason="stop",
        )


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("scripted"))


@pytest.fixture(scope="module")
def households(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("households"), HOUSEHOLDS, models=OneModel(Wanderer()))


def rewrite(run, tmp_path, change):
    """A copy of the run with the first long enough episode of base under seed 0 changed; its id."""
    copy = tmp_path / "copied"
    shutil.copytree(run.parent, copy)
    path = open_run(copy / run.name).evaluations("base")[0].folder / TRAJECTORIES
    records = [from_row(row) for row in pq.read_table(path).to_pylist()]
    at = next(i for i, t in enumerate(records) if sum(turn.action is not None for turn in t.turns) > 4)
    records[at] = change(records[at])
    pq.write_table(pa.Table.from_pylist([to_row(t) for t in records], schema=TRAJECTORY_SCHEMA), path)
    return copy / run.name, records[at].id


def with_turn(trajectory, index, **changes):
    turns = list(trajectory.turns)
    turns[index] = replace(turns[index], **changes)
    return replace(trajectory, turns=tuple(turns))


def nth_action(trajectory, n):
    return [i for i, turn in enumerate(trajectory.turns) if turn.action is not None][n]


@pytest.mark.parametrize("which", ["scripted", "households"])
def test_every_episode_of_a_run_replays_exactly(which, request, capsys):
    run = request.getfixturevalue(which)
    assert cli.main(["replay", str(run), "--all", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exact"] == told["episodes"] >= 6 and told["exact_rate"] == 1 and told["differences"] == []
    records = [t for rollout in open_run(run).rollouts for t in rollout.trajectories()]
    assert told["steps"] == sum(t.num_steps for t in records) > 50


def test_the_households_hold_what_a_replay_could_get_wrong(households):
    turns = [turn for t in open_run(households).evaluations("base")[0].trajectories() for turn in t.turns]
    assert any(turn.executed for turn in turns) and any(turn.action is None for turn in turns)
    assert not all(turn.valid for turn in turns)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: replace(t, opening=t.opening + "!"), "opening"),
        (lambda t: with_turn(t, nth_action(t, 2), observation="A dragon."), "observation"),
        (lambda t: with_turn(t, nth_action(t, 2), valid=not t.turns[nth_action(t, 2)].valid), "validity"),
        (lambda t: with_turn(t, nth_action(t, 2), executed="dance"), "executed action"),
        (lambda t: with_turn(t, nth_action(t, 2), reward=0.5), "change of score"),
        (lambda t: replace(t, score=0.25), "score"),
        (lambda t: replace(t, success=not t.success), "success"),
        (
            lambda t: replace(t, end=EndReason.STEP_LIMIT if t.end is EndReason.DONE else EndReason.DONE),
            "end by the world",
        ),
        (lambda t: replace(t, parts=(("r_type", 1.0),)), "parts of the score"),
    ],
)
def test_each_thing_that_differs_is_found_and_named(change, what, scripted, tmp_path, capsys):
    run, id_ = rewrite(scripted, tmp_path, change)
    assert cli.main(["replay", str(run), "--all", "--arm", "base", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    (found,) = told["differences"]
    assert (found["id"], found["difference"]["what"]) == (id_, what)
    assert told["exact"] == told["episodes"] - 1
    assert cli.main(["replay", str(run), id_[:10]]) == 1
    assert f"the {what} differs" in capsys.readouterr().out


def test_a_changed_action_is_found_by_what_the_world_answers(scripted, tmp_path):
    run, id_ = rewrite(scripted, tmp_path, lambda t: with_turn(t, nth_action(t, 1), action="look"))
    opened = open_run(run)
    _, trajectory = find_by_id(opened, id_)
    found = replay(open_env(opened.env), trajectory)
    assert found.difference.what == "observation" and found.difference.turn == nth_action(trajectory, 1)
    assert found.num_steps == 1


def test_an_episode_that_the_machinery_lost_is_counted_apart(scripted, tmp_path, capsys):
    run, id_ = rewrite(
        scripted,
        tmp_path,
        lambda t: replace(t, end=EndReason.ERROR, turns=(), opening="", success=False, score=0.0),
    )
    assert cli.main(["replay", str(run), "--all", "--arm", "base", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["lost"] == 1 and told["exact"] == told["episodes"] - 1 and told["exact_rate"] == 1
    assert cli.main(["replay", str(run), id_]) == 1
    assert "nothing to replay" in capsys.readouterr().out


def test_an_episode_is_shown_and_found_by_task_arm_and_seed(scripted, capsys):
    opened = open_run(scripted)
    wanted = next(iter(opened.evaluations("teacher")[1].trajectories()))
    arguments = ["replay", str(scripted), "--task", wanted.task.key, "--arm", "teacher", "--seed", "1"]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert f"replayed exactly: {wanted.num_steps} steps" in shown
    assert wanted.id in shown and wanted.task.goal in shown and wanted.hints[0].text in shown
    assert all(turn.action in shown and turn.observation in shown for turn in wanted.turns)
    assert find_by_task(opened, wanted.task.id, "teacher", 1)[1] == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one episode"),
        (["--all", "--task", "x"], "name one episode"),
        (["zzz"], "no episode of"),
        ([""], "begins the ids of"),
        (["--task", "house", "--arm", "teacher"], "fits 30 episodes"),
        (["--task", "nowhere", "--arm", "teacher"], "has a task whose key holds 'nowhere'"),
        (["--task", "house", "--arm", "student"], "no episodes of arm 'student'"),
        (["--all", "--arm", "student"], "no finished episodes of arm 'student'"),
        (["zzz", "--no-hints"], "say which with --from-turn T"),
        (["zzz", "--from-turn", "1", "--no-hints", "--k", "2"], "give one of them"),
        (["--all", "--from-turn", "1"], "plays on from one episode"),
    ],
)
def test_what_cannot_be_replayed_is_refused(arguments, message, scripted, capsys):
    assert cli.main(["replay", str(scripted), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys):
    assert cli.main(["replay", str(tmp_path), "--all"]) == 2
    assert "is no run: it holds no run.json" in capsys.readouterr().err


# Playing on.


@pytest.fixture
def lost(scripted, tmp_path):
    """The run in a folder of the test's own, and an episode that base lost and a hint mends."""
    copy = tmp_path / "own"
    shutil.copytree(scripted.parent, copy)
    run = copy / scripted.name
    trajectories = [
        t
        for t in open_run(run).evaluations("base")[0].trajectories()
        if not t.success and t.task.kind == "fetch"
    ]
    return run, trajectories[0]


def played_on(run, *arguments, capsys):
    assert cli.main(["replay", str(run), *arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    return told["lineage"], from_row(told["episode"])


def same_turns(one, other):
    """Turns without what a replay does not reproduce."""
    return [replace(t, prompt_tokens=0, cached_tokens=0, completion_tokens=0, seconds=0.0) for t in one] == [
        replace(t, prompt_tokens=0, cached_tokens=0, completion_tokens=0, seconds=0.0) for t in other
    ]


def test_with_nothing_changed_the_model_plays_on_as_it_did(lost, capsys):
    run, parent = lost
    _, other = played_on(run, parent.id, "--from-turn", "5", capsys=capsys)
    assert same_turns(other.turns, parent.turns) and other.end == parent.end
    assert other.hints == parent.hints == ()


def test_a_hint_from_a_turn_on_mends_the_episode_and_its_record_says_so(lost, capsys):
    run, parent = lost
    lineage, other = played_on(
        run, parent.id, "--from-turn", "4", "--hint", "Open what you come to.", capsys=capsys
    )
    assert other.success and not parent.success
    assert same_turns(other.turns[:4], parent.turns[:4])
    assert [(h.text, h.turn) for h in other.hints] == [("Open what you come to.", 4)]
    # The recorded turns were paid for by the parent.
    assert [t.prompt_tokens for t in other.turns[:4]] == [0] * 4 and other.turns[4].prompt_tokens > 0
    assert (lineage["parent"], lineage["stage"], lineage["change"]["from_turn"]) == (
        parent.id,
        "eval-base-s0",
        4,
    )
    folder = run / "replays" / other.id
    assert read_finished(folder) == [other] and other.arm == f"replay-{parent.id}-t4"
    assert pq.read_table(folder / TRAJECTORIES).num_rows == 1
    # The new record is as exact as any other.
    opened = open_run(run)
    assert replay(open_env(opened.env), other).is_exact
    before = (folder / "episodes.jsonl").read_bytes()
    played_on(run, parent.id, "--from-turn", "4", "--hint", "Open what you come to.", capsys=capsys)
    assert (folder / "episodes.jsonl").read_bytes() == before


def test_both_continuations_stand_side_by_side(lost, capsys):
    run, parent = lost
    assert (
        cli.main(["replay", str(run), parent.id[:12], "--from-turn", "2", "--hint", "Open what you come to."])
        == 0
    )
    shown = capsys.readouterr().out
    assert "changed from turn 2 on: the hint 'Open what you come to.'" in shown
    assert shown.count("[0] ") == shown.count("[1] ") == 1 and shown.count("[2] ") == 2
    assert "lost after" in shown and "won after" in shown and "replays" in shown


def test_hints_can_be_taken_away_retrieved_anew_and_the_seed_changed(lost, capsys):
    run, _ = lost
    parent = next(
        t for t in open_run(run).evaluations("teacher")[0].trajectories() if len(t.turns) > 3 and t.hints
    )
    bare = played_on(run, parent.id, "--from-turn", "1", "--no-hints", capsys=capsys)[1]
    assert bare.hints == () and bare.role == "base" and same_turns(bare.turns[:1], parent.turns[:1])
    fewer = played_on(run, parent.id, "--from-turn", "0", "--k", "1", capsys=capsys)[1]
    assert fewer.hints == parent.hints[:1]
    reseeded = played_on(run, parent.id, "--from-turn", "1", "--seed", "9", capsys=capsys)[1]
    assert reseeded.seed == 9 and reseeded.hints == parent.hints
    other = played_on(run, parent.id, "--from-turn", "1", "--model", "another", capsys=capsys)[1]
    assert other.model == "another"
    assert len({t.id for t in (parent, bare, fewer, reseeded, other)}) == 5


def test_a_prefix_that_the_world_answers_otherwise_is_refused(scripted, tmp_path, capsys):
    run, id_ = rewrite(scripted, tmp_path, lambda t: with_turn(t, nth_action(t, 1), observation="A dragon."))
    assert cli.main(["replay", str(run), id_, "--from-turn", "4"]) == 2
    error = capsys.readouterr().err
    assert "could not be played on" in error and "'A dragon.'" in error
    assert cli.main(["replay", str(run), id_, "--from-turn", "1"]) == 0


def test_a_turn_that_is_not_there_is_refused(lost, capsys):
    run, parent = lost
    assert cli.main(["replay", str(run), parent.id, "--from-turn", str(len(parent.turns))]) == 2
    assert f"has turns 0 to {len(parent.turns) - 1}" in capsys.readouterr().err


def configured(run, **changes):
    """The run with other settings than its episodes were played with."""
    document = json.loads((run / "run.json").read_text())
    document["config"] |= changes
    (run / "run.json").write_text(json.dumps(document))


def test_a_model_behind_an_endpoint_plays_on(lost, monkeypatch, capsys):
    run, parent = lost
    server = Server()
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")  # pragma: allowlist secret
    configured(run, model={"kind": "openai", "model": "m", "base_url": server.url})
    try:
        _, other = played_on(run, parent.id, "--from-turn", "3", "--model", "m2", capsys=capsys)
    finally:
        server.close()
    assert [t.action for t in other.turns[:3]] == [t.action for t in parent.turns[:3]]
    # It says "look" for ever, which the budget ends.
    assert {t.action for t in other.turns[3:]} == {"look"} and other.end is EndReason.REPETITION
    assert (other.model, other.turns[3].prompt_tokens) == ("m2", 11)
    sent = server.requests[0][2]
    assert sent["model"] == "m2" and sent["messages"][-1]["content"] == parent.turns[2].observation


def test_an_episode_of_prompts_that_are_gone_is_replayed_but_not_played_on(lost, capsys):
    run, parent = lost
    configured(run, agent={"name": "react", "prompt": "full"})
    assert cli.main(["replay", str(run), parent.id]) == 0
    assert cli.main(["replay", str(run), parent.id, "--from-turn", "1"]) == 2
    assert (
        f"was played by {parent.agent}, whose prompts this version no longer has" in capsys.readouterr().err
    )
