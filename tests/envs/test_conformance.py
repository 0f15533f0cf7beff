"""Every environment passes the same suite."""

import importlib.util
from pathlib import Path

import pytest

from envs.config import AlfworldConfig, ScriptedConfig, WebshopConfig

_spec = importlib.util.spec_from_file_location("conformance", Path(__file__).with_name("conformance.py"))
assert _spec and _spec.loader
conformance = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(conformance)


def test_scripted():
    conformance.check_env(ScriptedConfig(num_tasks=40), num_tasks=12)


@pytest.mark.parametrize("view", ["agent", "original"])
def test_alfworld(test_data, view):
    conformance.check_env(
        AlfworldConfig(games=str(test_data / "alfworld" / "valid_unseen.jsonl.xz"), view=view), num_tasks=8
    )


def test_textworld_backend(test_data):
    pytest.importorskip("textworld", reason="the reference backend is not installed (extra `alfworld`)")
    games = str(test_data / "alfworld" / "valid_unseen.jsonl.xz")
    conformance.check_env(AlfworldConfig(games=games, backend="textworld"), num_tasks=1)


@pytest.mark.parametrize("view", ["compact", "text_rich"])
@pytest.mark.parametrize("protocol", ["original", "fixed"])
def test_webshop(tmp_path, view, protocol):
    from envs.webshop.generate import generate

    generate(tmp_path / "shop", products=60, goals=24, seed=3)
    conformance.check_env(
        WebshopConfig(catalogue=str(tmp_path / "shop"), view=view, protocol=protocol), num_tasks=8
    )
