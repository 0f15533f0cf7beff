"""A grid over a study: its cells, what they share, what is compared, and what a grid must not be."""

import pytest

from distill.ablation import is_grid, load_ablation
from distill.ablation_report import columns_of, comparisons_between
from distill.settings import SettingsError
from distill.study import plan_stages

BASE = """
name = "s"
note = "a note"
seeds = [0, 1]
arms = ["base", "teacher", "teacher_random"]
[env]
name = "scripted"
num_tasks = 100
[tasks]
train = 20
test = 10
[agent]
prompt = "brief"
[model]
kind = "scripted"
[writer]
kind = "diagnostician"
"""
GRID = """
extends = "base.toml"
name = "sweep"
[grid.k]
key = "retriever.k"
values = [1, 3]
[grid.skill]
settings.weak = { "model.skill" = 0.2, "budget.max_steps" = 20 }
settings.strong = { "model.skill" = 0.6 }
"""


@pytest.fixture
def grid(tmp_path):
    (tmp_path / "base.toml").write_text(BASE)

    def load(text=GRID, *overrides, **options):
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return load_ablation(path, overrides, **options)

    return load


def test_every_combination_is_a_study(grid):
    ablation = grid()
    assert (ablation.name, ablation.axes, ablation.note) == ("sweep", ("k", "skill"), "a note")
    assert [cell.labels for cell in ablation.cells] == [
        ("k1", "weak"),
        ("k1", "strong"),
        ("k3", "weak"),
        ("k3", "strong"),
    ]
    second = ablation.cells[1].config
    assert second.name == "sweep.k1.strong"
    assert (second.retriever.k, second.model.skill, second.budget.max_steps) == (1, 0.6, 50)
    assert ablation.cells[0].config.budget.max_steps == 20


def test_overrides_hold_in_every_cell_and_may_change_an_axis(grid):
    ablation = grid(GRID, "seeds=[4]", "grid.k.values=[1, 3, 9]")
    assert len(ablation.cells) == 6 and all(cell.config.seeds == (4,) for cell in ablation.cells)
    with pytest.raises(SettingsError, match=r"retriever.k=2: axis 'k' of the grid sets it in every cell"):
        grid(GRID, "retriever.k=2")


def test_an_axis_of_studies_puts_the_file_on_top_of_each(grid, tmp_path):
    (tmp_path / "other.toml").write_text(BASE.replace("test = 10", "test = 12"))
    text = 'name = "both"\nseeds = [7]\n[grid.on]\nstudies = ["base.toml", "other.toml"]\n'
    ablation = grid(text)
    assert [cell.config.name for cell in ablation.cells] == ["both.base", "both.other"]
    assert [cell.config.tasks.test for cell in ablation.cells] == [10, 12]
    assert all(cell.config.seeds == (7,) for cell in ablation.cells)
    named = grid(text.replace("other.toml", "shipped"), find_study=lambda name: tmp_path / "other.toml")
    assert named.cells[1].labels == ("shipped",) and named.cells[1].config.tasks.test == 12


def test_a_grid_on_a_grid_has_its_axes_and_settings_and_may_start_elsewhere(grid, tmp_path):
    (tmp_path / "other.toml").write_text('extends = "base.toml"\nname = "other"\nseeds = [7]\n')
    (tmp_path / "below.toml").write_text(GRID + "[retriever]\nfrequency_weight = 1.0\n")
    twin = """
extends = "below.toml"
name = "twin"
[grid.k]
key = "retriever.k"
values = [2]
[grid.on]
studies = ["other.toml"]
"""
    ablation = grid(twin)
    assert ablation.axes == ("k", "skill", "on")
    assert [cell.labels for cell in ablation.cells] == [("k2", "weak", "other"), ("k2", "strong", "other")]
    for cell in ablation.cells:
        assert cell.config.seeds == (7,), "what it starts from"
        assert cell.config.retriever.frequency_weight == 1.0, "the grid below"
        assert cell.config.retriever.k == 2
    fewer = grid(twin.replace("[grid.k]", 'unset = ["grid.skill"]\n[grid.k]', 1))
    assert [cell.labels for cell in fewer.cells] == [("k2", "other")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE, r"has no \[grid\] table with an axis"),
        (GRID.replace("values = [1, 3]", "values = []"), "either key and values, or settings, or studies"),
        (GRID.replace("values = [1, 3]", 'studies = ["x"]'), "either key and values"),
        (GRID.replace("values =", "valeus ="), r"grid\.k\.valeus"),
        (GRID.replace("[1, 3]", "[1, 1]"), "two cells are both called sweep.k1.strong"),
        (GRID.replace("[1, 3]", '["x"]'), "grid.k: retriever.k"),
        (GRID.replace("model.skill", "model.skil"), "did you mean"),
        (GRID.replace("grid.k]", 'grid."Big K"]'), "is no name for an axis"),
        (
            GRID + '[grid.on]\nstudies = ["a"]\n[grid.at]\nstudies = ["b"]\n',
            "two axes of .grid. name studies",
        ),
    ],
)
def test_a_file_that_is_no_grid_says_why(grid, text, message):
    with pytest.raises(SettingsError, match=message):
        grid(text)


def test_a_grid_is_told_from_a_study(grid, tmp_path):
    grid()
    assert is_grid(tmp_path / "grid.toml") and not is_grid(tmp_path / "base.toml")
    assert not is_grid(tmp_path / "nowhere.toml")


def test_cells_share_what_their_axes_do_not_touch_and_arms_stand_once(grid):
    ablation = grid()
    plans = [plan_stages(cell.config) for cell in ablation.cells]
    columns = columns_of(ablation.cells, plans)
    names = [column.name for column in columns]
    assert names == [
        "base [weak]",
        "base [strong]",
        "teacher [k1, weak]",
        "teacher [k1, strong]",
        "teacher [k3, weak]",
        "teacher [k3, strong]",
        "teacher_random [k1, weak]",
        "teacher_random [k1, strong]",
        "teacher_random [k3, weak]",
        "teacher_random [k3, strong]",
    ]
    # k touches no base: the two cells of a skill share it.
    assert columns[0].cells == (0, 2) and columns[1].cells == (1, 3)
    all_keys = {stage.key for plan in plans for stage in plan.stages}
    assert len(all_keys) < sum(len(plan.stages) for plan in plans)


def test_an_axis_that_changes_nothing_is_named_nowhere(grid):
    ablation = grid(GRID + '[grid.hosts]\nkey = "rollout.num_hosts"\nvalues = [1, 2]\n')
    columns = columns_of(ablation.cells, [plan_stages(cell.config) for cell in ablation.cells])
    assert len(columns) == 10 and not any("hosts" in column.name for column in columns)


def test_comparisons_are_within_cells_and_with_the_first_value_of_one_axis(grid):
    ablation = grid()
    columns = columns_of(ablation.cells, [plan_stages(cell.config) for cell in ablation.cells])
    pairs = comparisons_between(ablation.cells, columns)
    assert ("teacher [k3, weak]", "base [weak]") in pairs
    assert ("teacher [k1, strong]", "teacher_random [k1, strong]") in pairs
    assert ("teacher [k3, weak]", "teacher [k1, weak]") in pairs
    assert ("base [strong]", "base [weak]") in pairs
    assert ("teacher [k3, strong]", "teacher [k1, weak]") not in pairs  # two things differ
    assert not any(a.startswith("teacher_random") and b.startswith("teacher_random") for a, b in pairs)
    assert len(pairs) == len({*pairs})
