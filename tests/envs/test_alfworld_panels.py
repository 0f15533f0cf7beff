"""Panels that ship, and panels against the data at hand."""

import pytest

from envs.alfworld.manifest import release_hashes
from envs.alfworld.panels import TRAIN_1200
from envs.base import EnvError
from envs.config import AlfworldConfig
from envs.panel import Panel, PanelMismatchError
from envs.registry import check_panel, find_panel, list_tasks, shipped_panels


def test_shipped_panels_are_the_papers():
    assert shipped_panels() == ["paper/alfworld-test", "paper/alfworld-train-1200"]
    test, train = (find_panel(name) for name in shipped_panels())
    assert {task.id for task in test.tasks} == {
        path for path in release_hashes() if path.startswith("valid_unseen/")
    }
    kinds = [task.kind for task in train.tasks]
    assert {kind: kinds.count(kind) for kind in TRAIN_1200} == TRAIN_1200 and len(kinds) == 1200
    assert {(task.split, task.id.partition("/")[0]) for task in train.tasks} == {("train", "train")}
    with pytest.raises(EnvError, match="paper/alfworld-test"):
        find_panel("paper/alfworld")


def test_a_panel_of_part_of_the_data_is_checked_and_gets_its_goals(test_data, tmp_path):
    config = AlfworldConfig(games=str(test_data / "alfworld" / "valid_unseen.jsonl.xz"))
    shipped = find_panel("paper/alfworld-test")
    with pytest.raises(EnvError, match="lacks 65 of 134 games"):
        check_panel(shipped, config)
    held = {task.id: task for task in list_tasks(config)}
    pairs = [
        (task, digest) for task, digest in zip(shipped.tasks, shipped.hashes, strict=True) if task.id in held
    ]
    part = Panel(
        name="part",
        dialect=shipped.dialect,
        tasks=tuple(t for t, _ in pairs),
        hashes=tuple(h for _, h in pairs),
    )
    checked = check_panel(part, config)
    assert [task.goal for task in checked.tasks] == [held[task.id].goal for task in part.tasks]
    part.save(tmp_path / "part.json")
    assert Panel.load(tmp_path / "part.json") == part
    wrong = Panel(name="wrong", dialect="put", tasks=part.tasks, hashes=part.hashes)
    with pytest.raises(PanelMismatchError, match="speaks 'put'"):
        check_panel(wrong, config)
    changed = Panel(name="changed", dialect="move", tasks=part.tasks, hashes=("0" * 64, *part.hashes[1:]))
    with pytest.raises(PanelMismatchError, match="1 tasks differ"):
        check_panel(changed, config)
