"""Cells of the heat map, against counts made by hand."""

from dataclasses import replace

import pytest

from distill.kind_cells import FEWEST_TASKS
from distill.results import build_results


def cells_of(panel, arms):
    found = build_results("s", panel, arms, resamples=300)["kinds"]
    return found, {(cell["arm"], cell["kind"]): cell for cell in found["cells"]}


def test_every_cell_counts_its_own_kind(panel_of, arms_of):
    panel = panel_of(36)
    arms = arms_of(panel, {"base": 0.3, "teacher": 0.6})
    found, cells = cells_of(panel, arms)
    assert len(cells) == 6 and found["reference"] == "base"
    for (arm, kind), cell in cells.items():
        own = [t for t in arms[arm] if t.task.kind == kind]
        assert (cell["n"], cell["num_tasks"], cell["few"]) == (36, 12, False)
        assert cell["success_rate"] == pytest.approx(sum(t.success for t in own) / 36)
        assert cell["success_ci95"][0] < cell["success_rate"] < cell["success_ci95"][1]


def test_a_difference_is_paired_with_base_and_base_has_none(panel_of, arms_of):
    panel = panel_of(36)
    arms = arms_of(panel, {"base": 0.3, "teacher": 0.6})
    _, cells = cells_of(panel, arms)
    for (arm, kind), cell in cells.items():
        if arm == "base":
            assert cell["difference"] is None
            continue
        gain = cell["success_rate"] - cells["base", kind]["success_rate"]
        assert cell["difference"]["delta"] == pytest.approx(gain)
        low, high = cell["difference"]["ci95"]
        assert low <= gain <= high


def test_episodes_that_the_machinery_lost_leave_the_cell_and_its_pairs(panel_of, arms_of):
    panel = panel_of(36)
    arms = arms_of(panel, {"base": 0.3, "teacher": 0.6})
    kind = panel.tasks[0].kind
    arms["base"] = [replace(t, end="error") if t.task == panel.tasks[0] else t for t in arms["base"]]
    _, cells = cells_of(panel, arms)
    assert cells["base", kind]["n"] == 33 and cells["base", kind]["num_tasks"] == 11
    assert cells["teacher", kind]["n"] == 36 and cells["teacher", kind]["difference"]["n_pairs"] == 33


def test_cells_of_few_tasks_say_so_however_many_seeds_there_are(panel_of, arms_of):
    panel = panel_of(3 * (FEWEST_TASKS - 1))
    found, cells = cells_of(panel, arms_of(panel, {"base": 0.5, "teacher": 0.5}, seeds=tuple(range(5))))
    assert all(cell["few"] and cell["n"] == 5 * (FEWEST_TASKS - 1) for cell in cells.values())
    assert cells["teacher", panel.tasks[0].kind]["difference"]["few"]
    assert found["fewest_tasks"] == FEWEST_TASKS


def test_without_base_there_is_nothing_to_differ_from(panel_of, arms_of):
    panel = panel_of(6)
    found, cells = cells_of(panel, arms_of(panel, {"teacher": 0.5}))
    assert found["reference"] is None and all(cell["difference"] is None for cell in cells.values())
