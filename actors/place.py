"""Folders that need not be on this machine: on whatever filesystem Arrow reaches, by an address such as `s3://bucket/run`.

Files are written whole and never changed: an object store knows neither appending nor renaming.
"""

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import fs

Folder = str | Path
"""A path of this machine, or the address of a folder on another filesystem."""

_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?:(?P<user>[^/@]*)@)?")
_COPIED = 8 * 2**20
"""Bytes of a file that are in memory while it is sent."""


class PlaceError(RuntimeError):
    """A folder's address is wrong, or what was written there is not what arrived."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder on a filesystem of Arrow's."""

    files: fs.FileSystem
    path: str

    def at(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    def make(self) -> None:
        self.files.create_dir(self.path, recursive=True)

    def names(self) -> list[str]:
        """Of the files here, sorted."""
        found = self.files.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == fs.FileType.File)

    def put(self, name: str, content: bytes) -> None:
        """There in whole when it returns. Raises `PlaceError` or `OSError`, and may then have left a part of it."""
        with self.files.open_output_stream(self.at(name)) as stream:
            stream.write(content)
        self._settle(name, len(content))

    def send(self, file: Path, name: str) -> None:
        """`put` for a file of this machine, which is not held in memory."""
        with file.open("rb") as source, self.files.open_output_stream(self.at(name)) as stream:
            while block := source.read(_COPIED):
                stream.write(block)
        self._settle(name, file.stat().st_size)

    def open(self, name: str) -> BinaryIO:
        """To read from the start."""
        return io.BufferedReader(self.files.open_input_stream(self.at(name)))

    def open_file(self, name: str) -> pa.NativeFile:
        """To read here and there."""
        return self.files.open_input_file(self.at(name))

    def delete(self, name: str) -> None:
        self.files.delete_file(self.at(name))

    def _settle(self, name: str, size: int) -> None:
        if isinstance(self.files, fs.LocalFileSystem):
            # Other filesystems have it for good once the stream is closed; this one only in the system's memory.
            for path in (self.at(name), self.path):
                _sync(path)
        # Arrow finishes an upload that broke off like one that did not: only its size tells.
        arrived = self.files.get_file_info(self.at(name)).size
        if arrived != size:
            raise PlaceError(f"{self.at(name)} has {arrived} bytes of the {size} that were written to it")


def is_address(folder: Folder) -> bool:
    return isinstance(folder, str) and _ADDRESS.match(folder) is not None


def place_of(address: str) -> Place:
    """Raises `PlaceError` for an address that no filesystem of Arrow's or fsspec's knows."""
    found = _ADDRESS.match(address)
    assert found, address
    if found["user"] not in (None, "anonymous"):
        # The address is written into logs and names; it is not quoted for the same reason.
        raise PlaceError(
            f"the {found['scheme']} address holds a user or a key; give it without, and the key by the environment or the machine's role"
        )
    try:
        return Place(*fs.FileSystem.from_uri(address))
    except pa.ArrowInvalid:
        return _of_fsspec(address)


def _of_fsspec(address: str) -> Place:
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(address)
    except (ValueError, ImportError) as error:
        raise PlaceError(
            f"no filesystem for {address}: {error}; use a path, s3://, gs:// or one that fsspec knows"
        ) from None
    return Place(fs.PyFileSystem(fs.FSSpecHandler(files)), path)


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
