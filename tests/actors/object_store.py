"""A filesystem as object stores are: files are there in whole once closed; nothing is appended to, renamed or changed."""

import io

import pyarrow as pa
from pyarrow import fs

from actors.place import Place


class ObjectStore(fs.FileSystemHandler):
    """`fails(path, attempt)`: how many bytes of a file arrive before its upload breaks off; None: all, and well."""

    def __init__(self, fails=lambda path, attempt: None):
        self.objects, self.fails, self.attempts, self.opened = {}, fails, 0, []

    @property
    def place(self):
        return Place(fs.PyFileSystem(self), "bucket/run")

    def get_type_name(self):
        return "objects"

    def normalize_path(self, path):
        return path

    def get_file_info(self, paths):
        return [
            fs.FileInfo(path, type=fs.FileType.File, size=len(self.objects[path]))
            if path in self.objects
            else fs.FileInfo(path, type=fs.FileType.NotFound)
            for path in paths
        ]

    def get_file_info_selector(self, selector):
        return self.get_file_info([path for path in self.objects if path.startswith(selector.base_dir + "/")])

    def create_dir(self, path, recursive):
        pass

    def delete_file(self, path):
        del self.objects[path]

    def open_input_stream(self, path):
        self.opened.append(path)
        return pa.BufferReader(self.objects[path])

    open_input_file = open_input_stream

    def open_output_stream(self, path, metadata):
        self.attempts += 1
        return pa.PythonFile(_Upload(self, path, self.fails(path, self.attempts)), mode="w")

    def _never(self, *_, **__):
        raise NotImplementedError("an object store cannot do this")

    delete_dir = delete_dir_contents = delete_root_dir_contents = _never
    move = copy_file = open_append_stream = _never


class _Upload(io.BytesIO):
    def __init__(self, store, path, arrives):
        super().__init__()
        self._store, self._path, self._arrives = store, path, arrives

    def write(self, block):
        if self._arrives is not None:
            super().write(bytes(block)[: self._arrives])
            raise OSError("connection reset")
        return super().write(block)

    def close(self):
        if not self.closed:
            # As Arrow does it: what broke off half-way is closed like any, and is there as far as it came.
            self._store.objects[self._path] = self.getvalue()
        super().close()
