"""The joint report of a grid: every different arm of every cell on one page, a panel at a time, compared pair by pair.

An arm that is the same work in several cells stands there once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.store import TRAJECTORIES
from distill.ablation import Ablation, Cell
from distill.arms import REROLL, in_words
from distill.episode_columns import EpisodeSource
from distill.report.build import build_report
from distill.report.episodes import write_browser
from distill.report.inputs import ReportInputs, collect_inputs
from distill.report.words import ARM_WORDS
from distill.results import build_results
from distill.stages import Stage, StageStore
from distill.study import StudyPlan
from distill.study_report import comparisons_of, determinism_class, package_versions
from envs.panel import Panel

_CONTROLS = {"teacher_random", "best_of_2", REROLL}
"""Compared within a cell only: what a control controls is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One arm as some cells play it."""

    name: str
    arm: str
    about: str
    cells: tuple[int, ...]
    """Positions of the cells that share it."""
    evaluations: tuple[Stage, ...]  # [num_seeds]


def write_ablation_report(
    ablation: Ablation, plans: Sequence[StudyPlan], store: StageStore, out_dir: Path
) -> None:
    """`results.json`, `table.txt` and `report.html` over all cells, whose stages are all done."""
    panels = [Panel.load(store.folder(plan.tasks) / "test.panel.json") for plan in plans]
    groups: dict[str, list[int]] = {}
    for position, panel in enumerate(panels):
        groups.setdefault(panel.sha256, []).append(position)
    pages = []
    for number, positions in enumerate(groups.values()):
        cells = [ablation.cells[position] for position in positions]
        columns = columns_of(cells, [plans[position] for position in positions])
        episodes = {
            column.name: [store.folder(stage) / TRAJECTORIES for stage in column.evaluations]
            for column in columns
        }
        panel = panels[positions[0]]
        title = ablation.name if len(groups) == 1 else f"{ablation.name} ({panel.name})"
        # Browsers of several panels would write over one another's files.
        folder = f"panel-{number}" if number else "."
        browser = write_browser(episodes, out_dir / folder, title=title)
        pages.append(
            _page(title, ablation, cells, columns, panel, episodes, str(browser.relative_to(out_dir)))
        )
    build_report(pages[0], out_dir, beside=pages[1:])


def columns_of(cells: Sequence[Cell], plans: Sequence[StudyPlan]) -> list[Column]:
    """The different arms of the cells. A name tells the labels of those axes alone that make a difference to the arm."""
    keys = [
        {
            arm: tuple(plan.evaluations[arm, seed].key for seed in cell.config.seeds)
            for arm in cell.config.arms
        }
        for cell, plan in zip(cells, plans, strict=True)
    ]
    found: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for arm in dict.fromkeys(arm for cell in cells for arm in cell.config.arms):
        for position, own in enumerate(keys):
            if arm in own:
                found.setdefault((arm, own[arm]), []).append(position)
    return [
        Column(
            name=_column_name(arm, cells[positions[0]], _axes_that_matter(arm, cells, keys)),
            arm=arm,
            about=_about(cells[positions[0]], arm),
            cells=tuple(positions),
            evaluations=tuple(
                plans[positions[0]].evaluations[arm, seed] for seed in cells[positions[0]].config.seeds
            ),
        )
        for (arm, _), positions in found.items()
    ]


def comparisons_between(cells: Sequence[Cell], columns: Sequence[Column]) -> list[tuple[str, str]]:
    """Within each cell what its study compares; between cells that differ in one axis, each arm with that of the axis's first value."""
    name_of = {(column.arm, position): column.name for column in columns for position in column.cells}
    within = [
        (name_of[a, position], name_of[b, position])
        for position, cell in enumerate(cells)
        for a, b in comparisons_of(cell.config)
    ]
    across = [
        (name_of[arm, position], name_of[arm, first])
        for position, first in _neighbours(cells)
        for arm in cells[position].config.arms
        if arm not in _CONTROLS and (arm, first) in name_of
    ]
    return list(dict.fromkeys(pair for pair in (*within, *across) if pair[0] != pair[1]))


def _neighbours(cells: Sequence[Cell]) -> Iterator[tuple[int, int]]:
    """(a cell, the cell that has the first value of one axis instead of its own)."""
    place = {cell.labels: position for position, cell in enumerate(cells)}
    for axis in range(len(cells[0].labels)):
        first = cells[0].labels[axis]
        for position, cell in enumerate(cells):
            other = place.get((*cell.labels[:axis], first, *cell.labels[axis + 1 :]))
            if other is not None and other != position:
                yield position, other


def _axes_that_matter(
    arm: str, cells: Sequence[Cell], keys: Sequence[Mapping[str, tuple[str, ...]]]
) -> list[int]:
    matter = []
    for axis in range(len(cells[0].labels)):
        seen: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        for cell, own in zip(cells, keys, strict=True):
            if arm in own:
                rest = (*cell.labels[:axis], *cell.labels[axis + 1 :])
                seen.setdefault(rest, set()).add(own[arm])
        if any(len(different) > 1 for different in seen.values()):
            matter.append(axis)
    return matter


def _column_name(arm: str, cell: Cell, axes: Sequence[int]) -> str:
    labels = ", ".join(cell.labels[axis] for axis in axes)
    return f"{arm} [{labels}]" if labels else arm


def _about(cell: Cell, arm: str) -> str:
    own = cell.config.arm.get(arm)
    return in_words(own) if own else ARM_WORDS.get(arm, "")


def _page(
    title: str,
    ablation: Ablation,
    cells: Sequence[Cell],
    columns: Sequence[Column],
    panel: Panel,
    episodes: Mapping[str, list[Path]],
    browser: str,
) -> ReportInputs:
    config = cells[0].config
    arms: dict[str, EpisodeSource] = dict(episodes)
    results = build_results(
        title,
        panel,
        arms,
        meta={column.name: {"about": column.about} for column in columns},
        comparisons=comparisons_between(cells, columns),
        versions=package_versions(),
        determinism=determinism_class(config.model, config.sampling.eval),
        resamples=config.statistics.resamples,
        notes=[
            f"{len(cells)} cells of the axes {', '.join(ablation.axes)}; each has a report of its own",
        ],
    )
    return collect_inputs(results, panel, arms, honesty=ablation.note.strip(), browser=browser)
