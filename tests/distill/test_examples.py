"""Examples: solved by the world's own word, with states that the world confirms, and of no task that is measured."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.agents import make_agent
from actors.agents.examples import ExamplesError, load_examples, write_examples
from actors.agents.parsing import write_replies
from actors.config import AgentConfig
from actors.trajectory import TRAJECTORY_SCHEMA, GivenHint, Trajectory, Turn, to_row
from distill.cli import main
from distill.config import StudyConfig
from distill.examples.make import check_apart, make_examples, recorded_plans
from distill.examples.of_study import check_examples, examples_of_study
from distill.settings import load_settings
from distill.study import plan_stages
from envs.config import AlfworldConfig, HouseholdsConfig, ScriptedConfig, ShopConfig, WebshopConfig
from envs.registry import generate, list_tasks, make_panel, open_env, walkthrough

SCRIPTED = ScriptedConfig(num_tasks=40)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    return {
        "alfworld": generate(HouseholdsConfig(train=36, test=6), AlfworldConfig(), folder / "households"),
        "webshop": generate(ShopConfig(products=300, train=40, test=10), WebshopConfig(), folder / "shop"),
        "scripted": SCRIPTED,
    }


def study(**changes) -> StudyConfig:
    settings = {
        "name": "few",
        "arms": ["base", "teacher"],
        "env": SCRIPTED.model_dump(),
        "tasks": {"train": 12, "test": 6},
        "model": {"kind": "scripted"},
        "writer": {"kind": "diagnostician"},
    }
    return StudyConfig.model_validate(settings | changes)


def replayed(env, example):
    """The world before every step of an example, after the same steps."""
    world = open_env(env)
    for number, step in enumerate(example.steps):
        result = world.reset(example.task, seed=0)
        for before in example.steps[:number]:
            result = world.step(before.action)
        yield world, dict(step.fields), result
    world.close()


@pytest.mark.parametrize("name", ["alfworld", "webshop", "scripted"])
def test_an_example_wins_again_word_for_word(worlds, name):
    env = worlds[name]
    examples = make_examples(env, list_tasks(env, "train"), per_kind=2)
    kinds = [example.task.kind for example in examples]
    assert kinds == sorted(kinds)
    assert {kinds.count(kind) for kind in kinds} <= {1, 2}
    world = open_env(env)
    for example in examples:
        assert example.opening == world.reset(example.task, seed=0).observation
        results = [world.step(step.action) for step in example.steps]
        assert [r.observation for r in results] == [step.observation for step in example.steps]
        assert results[-1].success
        assert all(result.valid for result in results)
    assert examples == make_examples(env, list_tasks(env, "train"), per_kind=2)


def test_the_state_of_a_household_is_the_worlds(worlds):
    """What the world says of what is held and faced, and every `go to` in the list of places."""
    env = worlds["alfworld"]
    examples = make_examples(env, list_tasks(env, "train"), per_kind=3)
    assert len({example.task.kind for example in examples}) == 6
    for example in examples:
        gone = []
        for (world, fields, _), step in zip(replayed(env, example), example.steps, strict=True):
            held = world.step("inventory").observation
            said = fields["current_inventory"]
            assert re.search(rf"carrying: an? {re.escape(said)}\.", held) if said else "not carrying" in held
            if gone:
                assert fields["current_location"] == gone[-1]
                assert gone[-1] in world.step("look").observation
            else:
                assert fields["current_location"] == "starting location"
            assert fields["locations_visited"] == ", ".join(dict.fromkeys(gone))
            gone += [step.action.removeprefix("go to ")] * step.action.startswith("go to ")
        assert gone


def test_the_state_of_a_shop_is_the_sessions(worlds):
    env = worlds["webshop"]
    chosen = 0
    for example in make_examples(env, list_tasks(env, "train"), per_kind=3):
        for world, fields, _ in replayed(env, example):
            session = world._session
            selection = [value for value in fields["current_selection"].split(", ") if value]
            assert sorted(selection) == sorted(", ".join(session.options.values()).split(", ")) or not (
                selection or session.options
            )
            chosen += len(selection)
            where = {
                "index": "search page",
                "results": f"results page {session.page.number}",
                "item": f"item page {session.asin}",
            }[session.page.kind]
            assert fields["current_location"].lower() == where.lower()
    assert chosen


def test_a_walk_through_pages_is_followed():
    from distill.examples.shop import narrate

    actions = [
        "search[mug]",
        "click[Next >]",
        "click[< Prev]",
        "click[B000000001]",
        "click[red]",
        "click[Features]",
    ]
    actions += ["click[< Prev]", "click[< Prev]", "click[Back to Search]", "search[cup]"]
    task = list_tasks(SCRIPTED, "train")[0]
    assert [
        (f["current_location"], f["current_selection"]) for f in narrate(task, [(a, "") for a in actions])
    ] == [
        ("search page", ""),
        ("results page 1", ""),
        ("results page 2", ""),
        ("results page 1", ""),
        ("item page B000000001", ""),
        ("item page B000000001", "red"),
        ("item page B000000001, features", "red"),
        ("item page B000000001", "red"),
        ("results page 1", ""),
        ("search page", ""),
    ]


@pytest.mark.parametrize("name", ["alfworld", "webshop", "scripted"])
@pytest.mark.parametrize("agent", ["react", "act", "stateact"])
def test_every_agent_reads_back_what_it_is_shown(worlds, tmp_path, name, agent):
    env = worlds[name]
    path = tmp_path / "e.jsonl"
    write_examples(make_examples(env, list_tasks(env, "train"), per_kind=2), path)
    player = make_agent(AgentConfig(name=agent, shots=1, examples=str(path)), name)
    examples = load_examples(path, name)
    shown = "\n".join(m.content for m in player.render(examples[-1].task, "o", (), ()))
    assert examples[-2].opening in shown
    for example in examples:
        for step in example.steps:
            *thoughts, (reply, _) = write_replies(player.grammar, dict(step.fields), step.action)
            assert player.parse(reply).action == step.action
            assert all(player.parse(thought).answer == answer for thought, answer in thoughts)


def recorded(tmp_path, *turns, success=True, split="train") -> Path:
    task = next(t for t in list_tasks(SCRIPTED, split) if t.kind == "fetch")
    trajectory = Trajectory(
        task=task, role="base", arm="base", agent="a", model="m", adapter=None, seed=0, hints=(), opening="o",
        turns=turns, end="done", success=success, score=1.0,
    )  # fmt: skip
    path = tmp_path / "trajectories.parquet"
    pq.write_table(pa.Table.from_pylist([to_row(trajectory)], schema=TRAJECTORY_SCHEMA), path)
    return path


def test_a_recorded_success_is_played_again_without_what_the_world_refused(tmp_path):
    task = next(t for t in list_tasks(SCRIPTED, "train") if t.kind == "fetch")
    plan = walkthrough(SCRIPTED, task)
    turns = [Turn(reply="think: hm", action=None, observation="OK.")]
    turns += [Turn(reply="x", action="go to attic", observation="..."), Turn(reply="x", action="fly", observation="", valid=False)]  # fmt: skip
    turns += [Turn(reply="x", action="go to hall", observation="...")]
    turns += [Turn(reply="x", action=action, observation="...") for action in plan]
    source = recorded(tmp_path, *turns)
    (example,) = make_examples(
        SCRIPTED, list_tasks(SCRIPTED, "train"), per_kind=3, plan=recorded_plans([source])
    )
    assert [step.action for step in example.steps] == ["go to attic", "go to hall", *plan]
    assert dict(example.steps[2].fields)["locations_visited"] == "attic, hall"


def test_a_recorded_failure_or_a_test_task_is_no_source(tmp_path):
    for changes in ({"success": False}, {"split": "test"}):
        source = recorded(tmp_path, Turn(reply="x", action="look", observation="..."), **changes)
        with pytest.raises(ExamplesError, match="no success at a train task"):
            recorded_plans([source])


def test_what_does_not_win_again_is_no_example():
    with pytest.raises(ExamplesError, match="none of 27 train tasks could be solved"):
        make_examples(SCRIPTED, list_tasks(SCRIPTED, "train"), per_kind=1, plan=lambda task: ("look",))


def test_examples_come_from_train_tasks():
    with pytest.raises(ExamplesError, match="examples come from train tasks alone"):
        make_examples(SCRIPTED, list_tasks(SCRIPTED, "test"), per_kind=1)


def test_a_task_that_is_measured_is_known_by_name_and_by_content():
    tasks = list_tasks(SCRIPTED, "train")
    example = make_examples(SCRIPTED, tasks, per_kind=1)[0]
    panel = make_panel("eval", SCRIPTED, tasks[:12])
    others = make_panel("eval", SCRIPTED, list_tasks(SCRIPTED, "test"))
    check_apart([example], others)
    with pytest.raises(ExamplesError, match="a task of the evaluation panel 'eval'"):
        check_apart([replace(example, played_on="else", task=tasks[0])], panel)
    renamed = replace(example, task=replace(tasks[0], id="house-of-another-name"), played_on=panel.hashes[3])
    with pytest.raises(ExamplesError, match="house-of-another-name"):
        check_apart([renamed], panel)


def test_a_study_refuses_examples_of_its_own_panel(tmp_path):
    """Before anything is played: at the plan."""
    made = examples_of_study(study(), per_kind=3)
    write_examples(made, tmp_path / "good.jsonl")
    few = {"shots": 2, "examples": str(tmp_path / "good.jsonl")}
    keys = [
        {stage.name: stage.key for stage in plan_stages(study(agent=agent)).stages} for agent in ({}, few)
    ]
    assert keys[0]["tasks"] == keys[1]["tasks"]
    assert keys[0]["eval-base-s0"] != keys[1]["eval-base-s0"]
    test_task = plan_test_task()
    write_examples([*made, replace(made[0], task=replace(test_task, split="train"))], tmp_path / "bad.jsonl")
    with pytest.raises(ExamplesError, match=f"shows the solution of {re.escape(test_task.key)}"):
        plan_stages(study(agent={"shots": 2, "examples": str(tmp_path / "bad.jsonl")}))


def test_a_panel_that_exists_only_once_it_is_made_is_held_against_the_examples_too(tmp_path):
    made = examples_of_study(study(), per_kind=3)
    write_examples(made, tmp_path / "e.jsonl")
    config = study(agent={"shots": 2, "examples": str(tmp_path / "e.jsonl")})
    check_examples(config, make_panel("other", SCRIPTED, list_tasks(SCRIPTED, "test")))
    panel = make_panel("made", SCRIPTED, [made[-1].task])
    with pytest.raises(ExamplesError, match="evaluation panel 'made'"):
        check_examples(config, panel)
    # A hint written by an agent that saw the solution would carry it over.
    miner = study(hints_from={"shots": 2, "examples": str(tmp_path / "e.jsonl")})
    with pytest.raises(ExamplesError, match="evaluation panel 'made'"):
        check_examples(miner, panel)


def plan_test_task():
    from distill.task_choice import choose_panel

    return choose_panel("few-test", 6, "test", SCRIPTED).tasks[0]


def test_the_command_makes_a_file_and_shows_the_prompt(tmp_path, capsys):
    file, settings = tmp_path / "e.jsonl", tmp_path / "s.json"
    settings.write_text(json.dumps(study().model_dump(mode="json")))
    assert main(["examples", "make", str(settings), "--per-kind", "2", "--out", str(file)]) == 0
    assert "6 examples of 3 kinds" in capsys.readouterr().out
    few = ["--set", "agent.name=stateact", "--set", "agent.shots=1", "--set", f"agent.examples={file}"]
    assert main(["examples", "show", str(settings), "--kind", "wash", *few]) == 0
    shown = capsys.readouterr().out
    assert "a clean" in shown.partition("Example 1")[2]
    assert "current inventory: None" in shown
    assert main(["examples", "make", str(settings), "--per-kind", "0", "--out", str(file)]) == 2
    assert "--per-kind must be 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("preset, kinds, calls", [("paper-alfworld", 6, 100), ("paper-webshop", 5, 14)])
def test_a_study_on_a_preset_of_the_paper_plays_with_examples_of_its_own(
    tmp_path, monkeypatch, capsys, preset, kinds, calls
):
    monkeypatch.chdir(tmp_path)
    env, make = ("alfworld", "households") if "alfworld" in preset else ("webshop", "shop")
    file = tmp_path / "own.toml"
    file.write_text(
        f'extends = "presets/{preset}.toml"\nname = "own"\narms = ["base", "teacher", "distill"]\n[env]\nname = "{env}"\n'
        f'[generate]\nmake = "{make}"\ntrain = 36\ntest = 6\n[model]\nkind = "scripted"\n[writer]\nkind = "diagnostician"\n'
    )
    assert main(["plan", str(file)]) == 2
    assert "make the file with `offbook examples make STUDY`" in capsys.readouterr().err
    assert main(["examples", "make", str(file)]) == 0
    assert f"of {kinds} kinds" in capsys.readouterr().out
    config = load_settings(file, [], StudyConfig)
    assert (config.budget.max_turns, config.agent.layout, config.sampling.eval.temperature) == (
        calls,
        "transcript",
        0,
    )
    agent = make_agent(config.agent, config.env.name)
    (message,) = agent.render(list_tasks(SCRIPTED)[0], "The opening.", (), (GivenHint(id="1", text="Hint."),))
    assert message.content.index("- Hint.") < message.content.index("Example 1")
    assert message.content.count("Example ") == config.agent.shots
    assert main(["plan", str(file)]) == 0
