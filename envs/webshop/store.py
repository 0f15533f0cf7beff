"""Columns on disk, read through the page cache: texts by number, and numpy arrays. Knows nothing of products."""

import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from envs.base import EnvError


class TextWriter:
    """Appends texts to `NAME.bin`, their ends to `NAME.off`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._texts: IO[bytes] = (folder / f"{name}.bin").open("wb")
        self._offsets: IO[bytes] = (folder / f"{name}.off").open("wb")
        self._end = 0
        array("Q", [0]).tofile(self._offsets)

    def add(self, text: str) -> None:
        encoded = text.encode("utf-8", "surrogatepass")
        self._end += len(encoded)
        self._texts.write(encoded)
        self._offsets.write(self._end.to_bytes(8, "little"))

    def close(self) -> None:
        self._texts.close()
        self._offsets.close()


class TextColumn:
    """`column[i]` decodes one text; nothing else is read."""

    def __init__(self, folder: Path, name: str) -> None:
        self._texts = _map(folder / f"{name}.bin")
        self._offsets = memoryview(_map(folder / f"{name}.off")).cast("Q")
        if self._offsets[len(self._offsets) - 1] != len(self._texts):
            raise EnvError(f"{folder / name}.bin is cut short; build the catalogue again")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> str:
        return self.raw(number).decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))

    def raw(self, number: int) -> bytes:
        return self._texts[self._offsets[number] : self._offsets[number + 1]]


class SortedTexts:
    """A `TextColumn` whose texts ascend by their UTF-8 bytes: text -> number by bisection, so that no table is held in memory."""

    def __init__(self, folder: Path, name: str) -> None:
        self._column = TextColumn(folder, name)

    def find(self, text: str) -> int | None:
        wanted = text.encode("utf-8", "surrogatepass")
        raw = self._column.raw
        low, high = 0, len(self._column)
        while low < high:
            middle = (low + high) // 2
            if raw(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self._column) and raw(low) == wanted else None


def save_array(folder: Path, name: str, values: np.ndarray) -> None:
    np.save(folder / f"{name}.npy", values)


def open_array(folder: Path, name: str) -> np.ndarray:
    """Mapped, read-only, as a plain array: a memmap's every slice would cost a Python call."""
    try:
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
    except (OSError, ValueError) as error:
        raise EnvError(f"{folder / name}.npy cannot be read ({error}); build the catalogue again") from None


def _map(path: Path) -> bytes:
    """The file's bytes; a mapping behaves as bytes for slices."""
    try:
        with path.open("rb") as stream:
            if path.stat().st_size == 0:
                return b""
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)  # type: ignore[return-value]
    except OSError as error:
        raise EnvError(f"{path} cannot be read ({error.strerror}); build the catalogue again") from None
