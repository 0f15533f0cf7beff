"""Files of recorded play: JSON lines, plain or .xz, one or a folder of them. Knows no environment."""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from envs.base import EnvError


def trace_files(place: Path) -> list[Path]:
    """Sorted. Raises `EnvError` where there is none."""
    if place.is_dir():
        files = sorted(path for path in place.iterdir() if path.name.endswith((".jsonl", ".jsonl.xz")))
    else:
        files = [place] if place.is_file() else []
    if not files:
        raise EnvError(f"no traces at {place}: expected a .jsonl or .jsonl.xz file, or a folder of them")
    return files


def read_traces(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every line with its number from 1 on. Raises `EnvError` for a damaged file and a line that is no object."""
    number = 0
    try:
        with open_text(file) as stream:
            for number, line in enumerate(stream, start=1):
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise EnvError(f"{file} line {number} is no trace but {type(record).__name__}")
                yield number, record
    except (ValueError, EOFError, OSError, lzma.LZMAError) as error:
        raise EnvError(f"{file} is damaged near line {number + 1}: {error}") from None


def open_text(path: Path) -> IO[str]:
    return lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")
