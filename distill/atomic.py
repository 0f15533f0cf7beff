"""Text files that a reader sees whole: the old one or the new one, also when the writer is killed."""

import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write beside and rename; the folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
