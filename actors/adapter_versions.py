"""Adapters by what is in them: a folder trained anew under the old name is another adapter, to weights and to cached keys and values."""

import os
from pathlib import Path

from actors.models import ModelError, adapter_digest

_FILES = ("adapter_config.json", "adapter_model.safetensors")


class AdapterVersions:
    """Digests of adapters, read again only when their files have changed: reading hundreds of megabytes at every call would cost more
    than the call."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple, str]] = {}

    def of(self, adapter: str | None) -> str | None:
        """None: the base model. Raises `ModelError` for a folder that holds no adapter."""
        if adapter is None:
            return None
        try:
            state = tuple(_state(Path(adapter) / name) for name in _FILES)
        except OSError as error:
            raise ModelError(f"adapter {adapter} cannot be read here: {error}") from error
        known = self._known.get(adapter)
        if known is None or known[0] != state:
            known = self._known[adapter] = (state, adapter_digest(adapter))
        return known[1]


def _state(file: Path) -> tuple[int, int, int]:
    found = os.stat(file)
    return found.st_mtime_ns, found.st_size, found.st_ino
