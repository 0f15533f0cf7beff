"""`offbook data`, `panel` and `play` on a made-up shop, and the shop as Gymnasium sees it."""

import json
import warnings
from pathlib import Path

import pytest

from distill import cli

GENERATE = ["data", "generate", "webshop", "--products", "80", "--goals", "24"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "shop"
    assert cli.main([*GENERATE, "--out", str(folder), "--seed", "5"]) == 0
    return folder


def test_a_made_shop_is_the_same_again_and_verifies(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [*GENERATE, "--out", str(tmp_path / "b")]
    assert cli.main([*arguments, "--seed", "5"]) == 0
    assert "80 products, 24 human goals" in capsys.readouterr().out
    assert _sha256(tmp_path / "b") == _sha256(shop)
    assert cli.main(["data", "verify", "webshop", str(tmp_path / "b")]) == 0
    assert cli.main([*arguments, "--seed", "6"]) == 0
    assert _sha256(tmp_path / "b") != _sha256(shop)


def _sha256(folder: Path) -> str:
    return json.loads((folder / "manifest.json").read_text())["sha256"]


def test_what_each_environment_needs_is_asked_for(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["data", "generate", "alfworld", "--seed", "1"]) == 2
    assert "needs --games" in capsys.readouterr().err
    assert cli.main(["data", "generate", "webshop", "--seed", "1", "--products", "3"]) == 2
    assert "needs --goals" in capsys.readouterr().err


def test_every_made_goal_can_be_bought_for_the_full_reward(shop: Path):
    import random

    from envs.webshop.catalogue import open_catalogue
    from envs.webshop.session import Session

    catalogue = open_catalogue(shop)
    for protocol in ("original", "fixed"):
        for place in range(24):
            goal = catalogue.goals("human")[place]
            session = Session(
                catalogue=catalogue, goal=goal, name="0", protocol=protocol, rng=random.Random(0)
            )
            session.act(f"search[{goal.title}]")
            assert session.act(f"click[{goal.asin}]").valid, goal
            for value in goal.options:
                assert session.act(f"click[{value}]").valid, goal
            outcome = session.act("click[buy now]")
            assert outcome.reward and outcome.reward.total == 1.0, (protocol, goal, outcome)


def test_panel_of_goals(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "six.json"
    assert cli.main(["panel", "make", "lab/shop", "--catalogue", str(shop), "--out", str(file)]) == 0
    assert "panel lab/shop of 6 tasks" in capsys.readouterr().out
    assert cli.main(["panel", "check", str(file), "--catalogue", str(shop)]) == 0
    assert cli.main(["panel", "check", str(file), "--catalogue", str(shop), "--protocol", "fixed"]) == 1
    assert "no: " in capsys.readouterr().out


def test_a_person_shops(shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from envs.config import WebshopConfig
    from envs.registry import list_tasks
    from envs.webshop.catalogue import open_catalogue

    task = list_tasks(WebshopConfig(catalogue=str(shop)))[0]
    goals = open_catalogue(shop).goals("human")
    goal = goals[goals.ids.index(task.id)]
    lines = iter(
        [
            f"search[{goal.title}]",
            "?",
            f"click[{goal.asin.lower()}]",
            *(f"click[{v}]" for v in goal.options),
            "click[buy now]",
        ]
    )
    monkeypatch.setattr("distill.play.ask_terminal", lambda _prompt: next(lines))
    assert cli.main(["play", "webshop", "--catalogue", str(shop), "--task", task.id]) == 0
    shown = capsys.readouterr().out
    assert "Solved in" in shown and f"[{goal.asin}]" in shown


def test_play_makes_a_shop_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("distill.play.ask_terminal", lambda _prompt: "q")
    assert cli.main(["play", "webshop", "--seed", "3"]) == 0
    assert "[Search]" in capsys.readouterr().out and list(tmp_path.iterdir()) == []


def test_gymnasium_knows_the_shop(shop: Path):
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    import envs.gym  # noqa: F401 - registers the name

    env = gymnasium.make(
        "offbook/WebShop-v0", catalogue=str(shop), split="test", view="text", render_mode="ansi"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    observation, info = env.reset(seed=0)
    assert info["goal"] in observation and info["admissible_commands"] == ["search[...]"]
    observation, reward, *_ = env.step("search[tea é ★]")
    assert reward == 0 and "Total results" in observation and observation in env.observation_space
    env.step(f"click[{observation.split(' [SEP] ')[5]}]")
    *_, reward, terminated, truncated, info = env.step("click[buy now]")
    assert terminated and not truncated and 0 <= reward <= 1 and reward == info["score"]
    assert {"r_type", "r_att", "r_price", "title_score"} <= set(info["parts"])
