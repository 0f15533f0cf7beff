"""A grid over a study's settings: one file, every combination of its axes a study (a cell), all in one store.

Knows settings only. Cells share every stage that the axes do not touch, because stages are named by their content.
"""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from distill.config import StudyConfig
from distill.settings import Override, SettingsError, base_of, load_settings, parse_override, read_layer

_AXIS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class AxisConfig(BaseModel):
    """One way in which the cells differ: the values of one key, named bundles of settings, or whole studies to start from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    key: str | None = None
    """Dotted key that takes each of `values`, such as "retriever.k"."""
    values: tuple[Any, ...] = ()
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By label, the dotted keys and values that go together."""
    studies: tuple[str, ...] = ()
    """Studies, by name or file, that the grid's file is put on top of, instead of what it `extends`."""

    @model_validator(mode="after")
    def varies_one_thing(self) -> "AxisConfig":
        given = [
            name
            for name, there in (
                ("key with values", self.key is not None or self.values),
                ("settings", self.settings),
                ("studies", self.studies),
            )
            if there
        ]
        if len(given) != 1 or bool(self.key) != bool(self.values):
            raise ValueError(
                f"an axis has either key and values, or settings, or studies; this one has {' and '.join(given) or 'nothing'}"
            )
        return self

    def points(self, name: str) -> "list[_Point]":
        if self.key is not None:
            return [
                _Point(label=_slug(f"{name}{value}"), overrides=(_override(name, self.key, value),))
                for value in self.values
            ]
        if self.settings:
            return [
                _Point(
                    label=_slug(label),
                    overrides=tuple(_override(name, key, value) for key, value in bundle.items()),
                )
                for label, bundle in self.settings.items()
            ]
        return [_Point(label=_slug(Path(study).stem), study=study) for study in self.studies]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Point:
    label: str
    overrides: tuple[Override, ...] = ()
    study: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination."""

    labels: tuple[str, ...]  # [num_axes]
    config: StudyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """All cells of a grid, the first axis varying slowest."""

    name: str
    note: str
    axes: tuple[str, ...]
    cells: tuple[Cell, ...]


def load_ablation(path: Path, overrides: Sequence[str] = (), *, find_study: Any = Path) -> Ablation:
    """Every cell of the grid file `path`, validated before anything runs. `--set` overrides hold in every cell; `grid.NAME.values=[...]` changes
    an axis. `find_study` turns the name of a study into its file. Raises `SettingsError`.
    """
    typed = [parse_override(text) for text in overrides]
    axes = _axes(path, [o for o in typed if o.keys[0] == "grid"])
    shared = [o for o in typed if o.keys[0] != "grid"]
    _refuse_to_override_an_axis(shared, axes)
    cells = [
        Cell(
            labels=tuple(point.label for point in points),
            config=_cell_config(path, points, shared, find_study),
        )
        for points in itertools.product(*axes.values())
    ]
    names = [cell.config.name for cell in cells]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(
            f"{path}: two cells are both called {twice[0]}; give the points of each axis different labels"
        )
    name = cells[0].config.name.removesuffix("." + ".".join(cells[0].labels))
    return Ablation(name=name, note=cells[0].config.note, axes=tuple(axes), cells=tuple(cells))


def is_grid(path: Path) -> bool:
    """Whether a settings file is one of a grid; False for what cannot be read."""
    try:
        return "grid" in read_layer(path)
    except SettingsError:
        return False


def _axes(path: Path, overrides: Sequence[Override]) -> dict[str, list[_Point]]:
    grid = _grid(path)
    if not isinstance(grid, dict) or not grid:
        raise SettingsError(
            f'{path} has no [grid] table with an axis, such as k = {{ key = "retriever.k", values = [1, 3] }}; '
            "a single study is run by `offbook run`"
        )
    for override in overrides:
        node = grid
        for key in override.keys[1:-1]:
            node = node.setdefault(key, {})
        node[override.keys[-1]] = override.value
    if bad := [name for name in grid if not _AXIS_NAME.fullmatch(name)]:
        raise SettingsError(
            f"{path}: grid.{bad[0]} is no name for an axis; use small letters, digits, - and _"
        )
    try:
        axes = TypeAdapter(dict[str, AxisConfig]).validate_python(grid)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in ("grid", *first["loc"]))
        raise SettingsError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    return {name: axis.points(name) for name, axis in axes.items()}


def _grid(path: Path, above: tuple[Path, ...] = ()) -> Any:
    """The axes of a grid and of those that it extends; an axis given again takes the place of the one below, one that is unset is gone."""
    layer = read_layer(path)
    grid, base = layer.get("grid"), layer.get("extends")
    below = base_of(path, base) if isinstance(base, str) else None
    if isinstance(grid, dict) and below is not None and below not in above and is_grid(below):
        inherited = _grid(below, (*above, path))
        if not isinstance(inherited, dict):
            return grid
        unset = layer.get("unset", [])
        return {name: axis for name, axis in inherited.items() if f"grid.{name}" not in unset} | grid
    return grid


def _cell_config(
    path: Path, points: Sequence[_Point], shared: Sequence[Override], find_study: Any
) -> StudyConfig:
    studies = [point.study for point in points if point.study is not None]
    if len(studies) > 1:
        raise SettingsError(f"{path}: two axes of [grid] name studies; a cell starts from one")
    extends = None
    if studies:
        beside = path.parent / studies[0]
        extends = beside if beside.is_file() else find_study(studies[0])
    overrides = [*shared, *(override for point in points for override in point.overrides)]
    whole = load_settings(path, overrides, _GridStudy, extends=extends)
    settings = whole.model_dump(exclude={"grid"})
    name = ".".join([whole.name, *(point.label for point in points)])
    return StudyConfig.model_validate(settings | {"name": name, "beside": ()})


class _GridStudy(StudyConfig):
    grid: dict[str, Any]


def _refuse_to_override_an_axis(shared: Sequence[Override], axes: dict[str, list[_Point]]) -> None:
    for name, keys in ((name, keys) for name, points in axes.items() for keys in _keys(points)):
        for override in shared:
            if override.keys == keys:
                raise SettingsError(
                    f"{override.source}: axis {name!r} of the grid sets it in every cell; change the axis, such as --set grid.{name}.values=[...]"
                )


def _keys(points: Sequence[_Point]) -> Iterator[tuple[str, ...]]:
    yield from {override.keys for point in points for override in point.overrides}


def _override(axis: str, key: str, value: Any) -> Override:
    return Override(
        keys=tuple(key.split(".")), value=value, raw=json.dumps(value, ensure_ascii=False), by=f"grid.{axis}:"
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-") or "x"
