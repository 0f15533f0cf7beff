"""Settings of the environments. Imports no environment."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class AlfworldConfig(_Frozen):
    """ALFWorld's text games."""

    name: Literal["alfworld"] = "alfworld"
    games: str = ""
    """A folder of the release (`.../game.tw-pddl` files), a compact `.jsonl` / `.jsonl.xz` file, or a folder of such files; `$NAME` and `~` are
    expanded. Empty where the study generates its games."""
    backend: Literal["native", "textworld"] = "native"
    """`native`: Offbook's own engine. `textworld`: the original, slow, one process a game at a time."""
    accept_put: bool = True
    """Understand `put X in/on Y` (ALFWorld before 0.4) as `move X to Y`; such rewrites are counted in the trajectory."""
    view: Literal["agent", "original"] = "agent"
    """`agent` drops the welcome banner from the opening; `original` keeps every byte."""
    skip_bad: bool = False
    """Leave out games that cannot be read, with a warning for each, instead of stopping at the first. Reads every game at once."""


class ScriptedConfig(_Frozen):
    """A small world for tests: a corridor of rooms to search, pure Python, with faults on demand."""

    name: Literal["scripted"] = "scripted"
    num_tasks: int = Field(default=20, ge=1)
    step_latency_s: float = Field(default=0.0, ge=0)
    """Slept at every step, to imitate a slow world."""
    crash_on: tuple[str, ...] = ()
    """Task ids whose reset raises `EnvError`."""


EnvConfig = Annotated[AlfworldConfig | ScriptedConfig, Field(discriminator="name")]
