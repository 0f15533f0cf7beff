"""Which Python packages are here, against what each extra of Offbook wants. Reads metadata; imports none of them."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

from distill.doctor import Finding, gpu_names
from distill.version import project_root

_NOT_LOCKED = ("tensorboard", "wandb")
"""Extras that `make venv` leaves out."""
_CUDA_BUILDS = ("torchvision", "torchaudio", "torchcodec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The packages of one extra."""

    name: str
    """"" is the base install."""
    why: str
    needed: bool


def groups(has_gpu: bool) -> list[Group]:
    engine = "gpu" if has_gpu else "cpu"
    return [
        Group(name="", why="playing, planning, reading runs", needed=True),
        Group(name="train", why="training students", needed=True),
        Group(name=engine, why="serving models", needed=True),
        Group(name="openai", why="models and hint writers behind an endpoint", needed=False),
        Group(name="alfworld", why="the original ALFWorld as a reference backend", needed=False),
        Group(name="tensorboard", why="copies of metrics in TensorBoard", needed=False),
        Group(name="wandb", why="copies of metrics in Weights & Biases", needed=False),
        Group(name="dev", why="tests and checks", needed=False),
    ]


def packages() -> Iterator[Finding]:
    wanted = requirements()
    seen: set[str] = set()
    for group in groups(bool(gpu_names())):
        for requirement in wanted.get(group.name, []):
            if requirement.name in seen:
                continue
            seen.add(requirement.name)
            yield check(requirement, group, _installed(requirement.name))
    yield from _torch_build()


def requirements() -> dict[str, list[Requirement]]:
    """What each extra wants, from the installed metadata or, in a source tree, from pyproject.toml; "" is the base."""
    source = project_root() / "pyproject.toml"
    if source.is_file():
        project = tomllib.loads(source.read_text())["project"]
        named = {"": project["dependencies"], **project.get("optional-dependencies", {})}
        return {name: [Requirement(text) for text in texts] for name, texts in named.items()}
    parsed = [Requirement(text) for text in metadata.requires("offbook") or []]
    extras = metadata.metadata("offbook").get_all("Provides-Extra") or []
    found = {"": [r for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]}
    for extra in extras:
        found[extra] = [
            r
            for r in parsed
            if r not in found[""] and r.marker is not None and r.marker.evaluate({"extra": extra})
        ]
    return found


def check(requirement: Requirement, group: Group, installed: str | None) -> Finding:
    """Whether `installed`, a version or None, is what the requirement wants."""
    # A CPU build calls itself 2.13.0+cpu, and a build's name is not a version.
    fits = installed is not None and requirement.specifier.contains(
        installed.partition("+")[0], prereleases=True
    )
    if fits:
        return Finding(name=requirement.name, state="ok", found=str(installed))
    wants = f"wants {requirement.specifier}" if str(requirement.specifier) else "any version does"
    found = f"{installed or 'not installed'}, {wants}, for {group.why}"
    return Finding(
        name=requirement.name,
        state="missing" if group.needed else "advice",
        found=found,
        mend=_install(group.name),
    )


def _install(extra: str) -> str:
    if (project_root() / "Makefile").is_file():
        return f"pip install -e '.[{extra}]'" if extra in _NOT_LOCKED else "make venv"
    if extra == "cpu":
        # Resolving this extra would bring CUDA builds along; the lock of the repository leaves them out.
        return "git clone the repository and run make venv there: the CPU set is installed from its lock"
    return f"pip install 'offbook[{extra}]'" if extra else "pip install --upgrade offbook"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _torch_build() -> Iterator[Finding]:
    torch = _installed("torch")
    if torch is None or not torch.endswith("+cpu"):
        return
    foreign = [
        name for name in _CUDA_BUILDS if (version := _installed(name)) and not version.endswith("+cpu")
    ]
    if foreign:
        yield Finding(
            name="torch build",
            state="missing",
            found=f"{', '.join(foreign)} are built for CUDA and break PEFT beside torch {torch}",
            mend=f"pip uninstall -y {' '.join(foreign)}",
        )
    else:
        yield Finding(name="torch build", state="ok", found="CPU build, nothing built for CUDA beside it")
