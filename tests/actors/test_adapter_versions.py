"""An adapter that is replaced under its name: neither its weights nor what was cached under them are used again."""

import asyncio
import os
from contextlib import suppress

import pytest
from tiny_model import build_tiny_adapter

from actors import adapter_versions
from actors.adapter_versions import AdapterVersions
from actors.chat import Sampling
from actors.config import EngineConfig
from actors.models import ModelError
from actors.vllm_backend import prompt_of
from actors.wire import Answer


def replace_adapter(tiny_model, folder, tmp_path, seed):
    """As a training run leaves it: new files under the old names."""
    other = build_tiny_adapter(tiny_model, tmp_path / f"new{seed}")
    file = other / "adapter_model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= seed
    file.write_bytes(raw)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        os.replace(other / name, folder / name)


def test_a_version_is_read_once_and_again_when_the_files_changed(tiny_model, tmp_path, monkeypatch):
    adapter = build_tiny_adapter(tiny_model, tmp_path / "a")
    read = []
    monkeypatch.setattr(
        adapter_versions,
        "adapter_digest",
        lambda folder: read.append(folder) or str((adapter / "adapter_model.safetensors").read_bytes()[-1]),
    )
    versions = AdapterVersions()
    first = [versions.of(str(adapter)) for _ in range(5)]
    assert len(set(first)) == len(read) == 1
    replace_adapter(tiny_model, adapter, tmp_path, seed=7)
    assert versions.of(str(adapter)) not in first
    assert len(read) == 2
    assert versions.of(None) is None
    with pytest.raises(ModelError, match=r"nowhere cannot be read here"):
        versions.of(str(tmp_path / "nowhere"))


def test_the_base_has_no_salt_and_a_version_has_its_own():
    assert prompt_of([1, 2], None) == {"prompt_token_ids": [1, 2]}
    assert prompt_of([1, 2], "v1") == {"prompt_token_ids": [1, 2], "cache_salt": "v1"}


class Backend:
    def __init__(self):
        self.salts, self.loaded = [], []

    async def generate(self, prompt_ids, params, lora, salt=None):
        self.salts.append(salt)
        return Answer(text="x", token_ids=(1,), cached_tokens=0, finish_reason="stop")

    async def reload(self, folder):
        self.loaded.append(folder)

    def drawing_tokens(self):
        return 5

    def kv_capacity_tokens(self):
        return 640

    def shutdown(self):
        pass


@pytest.fixture
def engine(tiny_model, monkeypatch):
    module = pytest.importorskip("actors.engine")
    backend = Backend()
    monkeypatch.setattr(module, "InsideBackend", lambda **_: backend)
    monkeypatch.setattr(module, "sampling_params", lambda *_: None)
    made = module.Engine(EngineConfig(model=str(tiny_model), device="cpu", dtype="float32"))
    monkeypatch.setattr(made, "_merged", lambda adapter, version: f"merged-{version}")
    yield made, backend
    with suppress(OSError):
        made.shutdown()


def test_an_engine_loads_the_new_weights_and_salts_the_cache_with_them(engine, tiny_model, tmp_path):
    made, backend = engine
    adapter = build_tiny_adapter(tiny_model, tmp_path / "a")

    async def draw(number):
        for _ in range(number):
            await made._draw([1, 2, 3], Sampling(), str(adapter))

    asyncio.run(draw(2))
    replace_adapter(tiny_model, adapter, tmp_path, seed=9)
    asyncio.run(draw(2))
    old, _, new, _ = backend.salts
    assert backend.salts == [old, old, new, new] and old != new
    assert backend.loaded == [f"merged-{old}", f"merged-{new}"]


def test_an_engine_tells_its_capacity_and_tokens_as_they_are_drawn(engine):
    made, _ = engine

    async def tell():
        await made._draw([1, 2, 3], Sampling(), None)
        return await made.info(), await made.metrics()

    info, metrics = asyncio.run(tell())
    assert info.kv_capacity_tokens == 640
    assert (metrics.completion_tokens, metrics.drawn_tokens, metrics.running_tokens) == (1, 6, 5)
