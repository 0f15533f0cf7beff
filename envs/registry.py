"""The environments by name. Above this package nobody asks which environment it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from envs.base import EnvError, TextEnv
from envs.config import EnvConfig, GenerateConfig
from envs.panel import Panel
from envs.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSpec:
    """How to reach one environment; `module` is imported on first use.

    The module provides `open_env(config) -> TextEnv`, `list_tasks(config, split) -> list[Task]` (sorted by id; split None = all) and
    `content_hashes(config, tasks) -> list[str]` (SHA-256 hex of what each task is played on), `dialect(config) -> str`,
    `walkthrough(config, task) -> tuple[str, ...] | None`, and where `makes` is set `generate(settings, folder)`, which fills a folder with data.
    """

    name: str
    module: str
    data: str = ""
    """The key of its settings that says where its data lies; empty where it needs none."""
    makes: str = ""
    """What it can play that is made instead of fetched: the `make` of a `[generate]` table."""


SPECS: dict[str, EnvSpec] = {
    spec.name: spec
    for spec in (
        EnvSpec(name="alfworld", module="envs.alfworld.env", data="games", makes="households"),
        EnvSpec(name="scripted", module="envs.scripted"),
        EnvSpec(name="webshop", module="envs.webshop.env", data="catalogue", makes="shop"),
    )
}

PANELS = Path(__file__).parent / "panels"
"""Where the panels that come with Offbook lie."""


def spec_of(config: EnvConfig) -> EnvSpec:
    spec = SPECS.get(config.name)
    if spec is None:
        raise EnvError(f"no environment is called {config.name!r}; known: {', '.join(sorted(SPECS))}")
    return spec


def _provided(config: EnvConfig, function: str) -> Callable:
    return getattr(import_module(spec_of(config).module), function)


def open_env(config: EnvConfig) -> TextEnv:
    """A fresh instance; cheap enough to have one for each slot of a host."""
    return _provided(config, "open_env")(config)


def list_tasks(config: EnvConfig, split: str | None = None) -> list[Task]:
    """Every task that the configured data holds, sorted by id."""
    return _provided(config, "list_tasks")(config, split)


def walkthrough(config: EnvConfig, task: Task) -> tuple[str, ...] | None:
    """Actions that win the task, from whoever knows the whole of it; None where they are not known. For examples, never for an agent's eyes."""
    return _provided(config, "walkthrough")(config, task)


def gold_plan(config: EnvConfig, task: Task) -> tuple[str, ...]:
    """`walkthrough` for upper bounds; raises `EnvError` where none is known."""
    plan = walkthrough(config, task)
    if not plan:
        raise EnvError(f"no actions are known that win {task.key}, so it has no gold plan")
    return plan


def generate(settings: GenerateConfig, config: EnvConfig, folder: Path) -> EnvConfig:
    """Make data in a new `folder`; the settings that play on it. The same settings make the same tasks.

    Raises:
        EnvError: the environment cannot play what `settings` makes.
    """
    makes = spec_of(config).makes
    if settings.make != makes:
        raise EnvError(
            f"generate.make = {settings.make!r} is nothing that {config.name} plays; it plays {makes or 'no generated data'}"
        )
    _provided(config, "generate")(settings, folder)
    return on_data(config, folder)


def on_data(config: EnvConfig, folder: Path) -> EnvConfig:
    """The same environment on the data of another folder."""
    return config.model_copy(update={spec_of(config).data: str(folder)})


def make_panel(name: str, config: EnvConfig, tasks: Sequence[Task]) -> Panel:
    """Freeze tasks with the content hashes of the configured data."""
    return Panel(
        name=name,
        dialect=_provided(config, "dialect")(config),
        tasks=tuple(tasks),
        hashes=tuple(_provided(config, "content_hashes")(config, tasks)),
    )


def check_panel(panel: Panel, config: EnvConfig) -> Panel:
    """Raise unless the configured data holds every task of the panel with the same content; returns the panel with the data's own goals.

    Raises:
        PanelMismatchError: content or dialect differ.
        EnvError: tasks are missing.
    """
    found = make_panel(panel.name, config, panel.tasks)
    panel.require_same(found)
    listed = {task.id: task for task in list_tasks(config)}
    return replace(found, tasks=tuple(listed[task.id] for task in panel.tasks))


def find_panel(name: str) -> Panel:
    """A shipped panel, such as `paper/alfworld-test`, or a panel's file."""
    for file in (PANELS / f"{name}.json", PANELS / f"{name}.json.xz", Path(name)):
        if file.is_file():
            return Panel.load(file)
    raise EnvError(
        f"no panel is called {name!r}; shipped: {', '.join(shipped_panels())}; a panel of your own is a .json file"
    )


def shipped_panels() -> list[str]:
    """Names of the panels that come with Offbook."""
    return sorted(
        file.relative_to(PANELS).as_posix().partition(".json")[0] for file in PANELS.rglob("*.json*")
    )
