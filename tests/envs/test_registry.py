"""Data that is made instead of fetched, whichever environment plays it."""

import pytest

from envs.base import EnvError
from envs.config import AlfworldConfig, HouseholdsConfig, ScriptedConfig, ShopConfig, WebshopConfig
from envs.registry import generate, list_tasks, make_panel, open_env

MADE = [
    (HouseholdsConfig(train=6, test=3, seed=2), AlfworldConfig()),
    (ShopConfig(products=60, train=6, test=3, seed=2), WebshopConfig()),
]


@pytest.mark.parametrize(("settings", "config"), MADE, ids=lambda value: getattr(value, "make", ""))
def test_what_is_made_has_the_splits_asked_for_and_is_the_same_again(settings, config, tmp_path):
    first, second = (generate(settings, config, tmp_path / name) for name in "ab")
    tasks = {split: list_tasks(first, split) for split in ("train", "test")}
    assert {split: len(listed) for split, listed in tasks.items()} == {"train": 6, "test": 3}
    assert len(list_tasks(first)) == 9
    panels = [make_panel("p", env, list_tasks(env)) for env in (first, second)]
    assert panels[0].sha256 == panels[1].sha256
    other = generate(settings.model_copy(update={"seed": 3}), config, tmp_path / "c")
    assert make_panel("p", other, list_tasks(other)).sha256 != panels[0].sha256
    env = open_env(first)
    assert tasks["test"][0].goal in env.reset(tasks["test"][0], seed=0).observation
    env.close()


@pytest.mark.parametrize(
    ("settings", "config", "message"),
    [
        (ShopConfig(), AlfworldConfig(), "'shop' is nothing that alfworld plays; it plays households"),
        (ShopConfig(), ScriptedConfig(), "'shop' is nothing that scripted plays; it plays no generated data"),
    ],
)
def test_an_environment_makes_only_what_it_plays(settings, config, message, tmp_path):
    with pytest.raises(EnvError, match=message):
        generate(settings, config, tmp_path / "made")
    assert not (tmp_path / "made").exists()
