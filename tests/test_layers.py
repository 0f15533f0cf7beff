"""Imports go one way, Ray stays in a handful of files, and importing a package loads nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

MAY_IMPORT = {
    "envs": set(),
    "actors": {"envs"},
    "train": set(),
    "distill": {"actors", "envs", "train"},
}
RAY_FILES = {
    "actors/cluster.py",
    "actors/engine.py",
    "actors/env_host.py",
    "actors/fleet.py",
    "actors/ray_host.py",
    "actors/replica.py",
    "actors/ray_meters.py",
    "actors/rollout.py",
    "actors/watch.py",
    "actors/writer.py",
    "distill/cluster.py",
    "distill/dataset.py",
    "distill/dataset_stream.py",
    "distill/launch/spot_first.py",
    "train/fit.py",
    "train/loop.py",
}
# Loading one costs seconds, gigabytes or a GPU: each is imported by the function or actor that needs it.
NEVER_AT_IMPORT = {
    "accelerate",
    "alfworld",
    "datasets",
    "deepspeed",
    "mlflow",
    "tensorboardX",
    "textworld",
    "vllm",
    "wandb",
}
ONLY_WHERE_LAZY = {"peft", "torch", "transformers"}
LAZY = ("train/", "distill/pocket/")  # themselves imported by functions only


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    file: str
    line: int
    root: str
    at_import: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.root}"


def test_packages_import_only_what_lies_below_them(every_import: list[Import]) -> None:
    wrong = []
    for found in every_import:
        package = found.file.split("/")[0]
        if found.root in MAY_IMPORT and found.root != package and found.root not in MAY_IMPORT[package]:
            wrong.append(str(found))
    assert not wrong


def test_ray_is_imported_only_by_the_listed_files(every_import: list[Import]) -> None:
    assert not [str(found) for found in every_import if found.root == "ray" and found.file not in RAY_FILES]


def test_the_list_of_ray_files_names_no_file_that_does_without(every_import: list[Import]) -> None:
    assert {found.file for found in every_import if found.root == "ray"} == RAY_FILES


def test_heavy_libraries_are_imported_inside_functions(every_import: list[Import]) -> None:
    wrong = []
    for found in every_import:
        lazy = found.file.startswith(LAZY)
        heavy = NEVER_AT_IMPORT | (set() if lazy else ONLY_WHERE_LAZY)
        if found.at_import and found.root in heavy:
            wrong.append(str(found))
    assert not wrong


def test_packages_and_the_command_line_load_nothing_heavy(repository: Path) -> None:
    heavy = sorted(NEVER_AT_IMPORT | ONLY_WHERE_LAZY | {"ray"})
    program = (
        "import sys, actors, actors.config, distill, distill.cli, distill.config, envs, envs.config, envs.registry, "
        f"train, train.schema; print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert loaded.stdout.split() == []


def test_an_import_in_a_function_counts_for_the_layer_but_not_as_loaded_at_import() -> None:
    source = (
        "import a\ndef f():\n    import b\nif TYPE_CHECKING:\n    import c\nclass C:\n    from d.e import g\n"
    )
    found = {(i.root, i.at_import) for i in imports_of(ast.parse(source), "x/y.py")}
    assert found == {("a", True), ("b", False), ("c", False), ("d", True)}


def test_a_relative_import_counts_as_its_own_package() -> None:
    assert [i.root for i in imports_of(ast.parse("from . import b"), "x/y.py")] == ["x"]


@pytest.fixture(scope="module")
def every_import(repository: Path) -> list[Import]:
    found = []
    for package in MAY_IMPORT:
        files = sorted((repository / package).rglob("*.py"))
        assert files, f"{package} has no modules"
        for path in files:
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
            found.extend(imports_of(tree, path.relative_to(repository).as_posix()))
    return found


def imports_of(node: ast.AST, file: str, at_import: bool = True) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(file=file, line=child.lineno, root=name.name.split(".")[0], at_import=at_import)
        elif isinstance(child, ast.ImportFrom):
            root = file.split("/")[0] if child.level else (child.module or "").split(".")[0]
            yield Import(file=file, line=child.lineno, root=root, at_import=at_import)
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _only_for_types(
                child
            )
            yield from imports_of(child, file, at_import and not later)


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
