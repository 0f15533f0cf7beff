"""Models at several places behind one router: what a host tells of them, and how the driver's choice reaches them."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from actors.player import Models


@runtime_checkable
class PlacedModels(Models, Protocol):
    def place(self, session: str, engine: str) -> None:
        """The driver's choice for a session that is about to begin; one that is not known here, or dead, is not heeded."""
        ...

    @property
    def held_tokens(self) -> Mapping[str, int]:
        """By engine: what its sessions' last prompts and replies come to."""
        ...

    @property
    def unreachable(self) -> tuple[str, ...]: ...
