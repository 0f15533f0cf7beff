"""The studies in the package."""

import pytest

from distill.ablation import is_grid, load_ablation
from distill.commands.shared import load_study_at, shipped_studies, study_path


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_every_shipped_study_and_every_cell_of_a_shipped_grid_is_whole(name):
    path = study_path(name)
    studies = (
        [cell.config for cell in load_ablation(path, find_study=study_path).cells]
        if is_grid(path)
        else [load_study_at(name)]
    )
    assert studies
    for study in studies:
        assert study.name.split(".")[0] == name
        for other in study.beside:
            assert load_study_at(str(path.parent / other)).name
