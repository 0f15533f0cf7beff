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


class WebshopConfig(_Frozen):
    """WebShop's store, played from a catalogue that `offbook data build webshop` or `generate webshop` made."""

    name: Literal["webshop"] = "webshop"
    catalogue: str = ""
    """The catalogue's folder; `$NAME` and `~` are expanded."""
    goals: Literal["human", "synthetic"] = "human"
    """Instructions that people wrote, or those composed from attributes and options."""
    protocol: Literal["original", "fixed"] = "original"
    """`original` keeps the original's rewards and pages, mistakes included; `fixed` mends them (docs/webshop.md lists them)."""
    view: Literal["compact", "text", "text_rich"] = "compact"
    """`text` and `text_rich` are the original's observations; `compact` is the short form that ReAct-style agents read."""
    results_shown: int = Field(default=3, ge=0)
    """Products that `compact` shows of the ten of a results page; 0 for all."""


class HouseholdsConfig(_Frozen):
    """ALFWorld games of our own, train and test disjoint in their room layouts."""

    make: Literal["households"] = "households"
    seed: int = 0
    train: int = Field(default=480, ge=1)
    """Games to roll out on and to mine hints from."""
    test: int = Field(default=240, ge=1)
    """Games of the held-out panel."""
    rooms: Literal["small", "full", "crowded", "mixed"] = "small"
    """`small`: four to nine places and few things. `full`: as the release has them. `crowded`: four or five places, full of things."""


class ShopConfig(_Frozen):
    """A WebShop of our own, whose goals read as if people had written them."""

    make: Literal["shop"] = "shop"
    seed: int = 0
    products: int = Field(default=1000, ge=1)
    train: int = Field(default=480, ge=1)
    """Goals to roll out on and to mine hints from."""
    test: int = Field(default=240, ge=1)
    """Goals of the held-out panel."""


GenerateConfig = Annotated[HouseholdsConfig | ShopConfig, Field(discriminator="make")]
"""What can be made instead of fetched."""

EnvConfig = Annotated[AlfworldConfig | ScriptedConfig | WebshopConfig, Field(discriminator="name")]
