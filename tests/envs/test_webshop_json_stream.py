"""Large JSON files, entry by entry."""

import io
import json
import random

import pytest

from envs.webshop import json_stream
from envs.webshop.json_stream import array_entries, object_entries

VALUES = [{"a": [1, 2.5, 'x\\"é★😀'], "b": None}, "text", 12345, -0.5, [], {}, True, {"nan": "NaN, ]}"}]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_entries_are_those_of_the_whole_wherever_chunks_end(monkeypatch, chunk, indent, ascii_only):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    rng = random.Random(chunk)
    values = rng.choices(VALUES, k=30)
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
    assert list(array_entries(io.BytesIO(text))) == values
    held = {f"k{n}": value for n, value in enumerate(values)}
    text = json.dumps(held, indent=indent, ensure_ascii=ascii_only).encode()
    assert dict(object_entries(io.BytesIO(text))) == held


def test_what_only_the_standard_library_reads():
    first, second = array_entries(io.BytesIO(b'\xef\xbb\xbf [NaN, "\\ud83d"] '))
    assert first != first and second == "\ud83d"
    assert list(array_entries(io.BytesIO(b"[]"))) == [] == list(object_entries(io.BytesIO(b" {} ")))


@pytest.mark.parametrize("text", [b"", b"{", b"[1, 2", b"[1 2]", b"[1,]", b'["a', b"{}", b"[1, \xff]"])
def test_damage_is_an_error(text):
    with pytest.raises(ValueError):
        list(array_entries(io.BytesIO(text)))


def test_an_entry_without_end_is_not_read_to_the_end(monkeypatch):
    monkeypatch.setattr(json_stream, "LONGEST_ENTRY", 1000)
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    stream = io.BytesIO(b'["' + b"x" * 100_000)
    with pytest.raises(ValueError):
        list(array_entries(stream))
    assert stream.tell() < 3000
