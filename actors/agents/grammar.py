"""A turn grammar: which labelled parts a reply has, as data. Read from the `*.toml` beside an agent's prompts; knows no model and no world."""

import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Part(_Frozen):
    """One labelled part of a reply."""

    name: str
    """As records call it, such as "current_location"."""
    label: str
    """As a reply writes it, such as "current location"."""
    mark: str = ""
    """Regular expression of what introduces it; "": the label with a colon, blanks written as blanks or underscores, in any case."""

    @property
    def pattern(self) -> str:
        return self.mark or r"[ _]+".join(re.escape(word) for word in self.label.split()) + r"\s*:"


class Field(Part):
    """A part beside the action."""

    optional: bool = False
    """Whether examples leave it out where there is nothing to say, instead of saying `None`."""
    alone: str | None = None
    """What is answered to a reply that holds this and no action, such as "OK." to a thought; None: that is no reply."""


class Action(Part):
    """The part that goes to the world."""

    name: str = "action"
    label: str = "action"
    bare: bool = False
    """Whether it may stand without its label; examples then write it so."""


class Grammar(_Frozen):
    """How an agent's replies are written and read (by `actors.agents.parsing`)."""

    title: str
    """The agent's name in messages."""
    lines: Literal["one", "many"]
    """`one`: a reply is its first line. `many`: a part a line, up to the action's."""
    fields: tuple[Field, ...] = ()
    """In the order in which a reply has them, before the action."""
    action: Action
    stop: tuple[str, ...]
    """Where the model's reply ends."""
    empty: str
    """The answer to a reply without a word."""
    unreadable: str = ""
    """The answer to a reply without an action."""

    def without(self, name: str) -> "Grammar":
        """The same without one of its fields; what is answered to an empty reply no longer lists them."""
        kept = tuple(field for field in self.fields if field.name != name)
        return self.model_copy(update={"fields": kept, "empty": self.unreadable})

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        return (*self.fields, self.action)


def load_grammar(folder: Path, env_name: str) -> Grammar:
    """`ENV.grammar.toml` of an agent's folder where the environment has its own, else `grammar.toml`."""
    own = folder / f"{env_name}.grammar.toml"
    file = own if own.is_file() else folder / "grammar.toml"
    return Grammar.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
