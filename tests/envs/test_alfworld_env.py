"""What the environment does beside the world: older releases said "put" where this one says "move"."""

import pytest
from alfworld_games import line, row, write_lines

from envs.alfworld.env import understand_put
from envs.config import AlfworldConfig
from envs.registry import list_tasks, open_env


@pytest.mark.parametrize(
    "said, meant",
    [
        ("put apple 1 in/on fridge 1", "move apple 1 to fridge 1"),
        ("put apple 1 in fridge 1", "move apple 1 to fridge 1"),
        ("Put apple 1 on shelf 2 ", "move apple 1 to shelf 2"),
        ("put apple 1", None),
        ("take apple 1 from shelf 1", None),
        ("output apple 1 in fridge 1", None),
    ],
)
def test_put_is_understood_as_move(said, meant):
    assert understand_put(said) == meant


def test_put_is_played_reported_and_may_be_forbidden(tmp_path):
    games = write_lines(tmp_path / "a.jsonl", line(row(1)))
    for accepted in (True, False):
        config = AlfworldConfig(games=games, accept_put=accepted)
        env = open_env(config)
        env.reset(list_tasks(config)[0], seed=0)
        for action in ("go to shelf 1", "take apple 1 from shelf 1", "go to fridge 1", "open fridge 1"):
            assert env.step(action).executed is None
        result = env.step("put apple 1 in/on fridge 1")
        assert result.executed == ("move apple 1 to fridge 1" if accepted else None)
        assert result.valid == result.success == accepted
