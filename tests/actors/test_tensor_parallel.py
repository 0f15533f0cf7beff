"""A model cut over two processes of one engine, as over two GPUs: what it says, what serves adapters, and what is left when it is killed."""

import os
import time

import psutil
import pytest
from tiny_model import build_tiny_adapter, build_tiny_model

from actors.chat import Message, Sampling
from actors.config import EngineConfig
from actors.fleet import Fleet

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(900)]

CHAT = (
    Message(role="system", content="solve the household task"),
    Message(role="user", content="you see cabinet 1, and drawer 2. " * 8),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    # Two heads and one pair of keys and values for each half.
    folder = tmp_path_factory.mktemp("wide") / "model"
    return build_tiny_model(folder, hidden=128, heads=4, kv_heads=2, intermediate=192)


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory):
    return build_tiny_adapter(model, tmp_path_factory.mktemp("wide_adapter"))


def serve(model, **settings):
    return Fleet(EngineConfig(model=str(model), device="cpu", kv_cache_gb=0.2, max_num_seqs=4, **settings))


def ask(fleet, adapter=None):
    import ray

    engine = fleet.engines["engine 0"]
    return ray.get(
        engine.generate.remote(CHAT, Sampling(max_tokens=12), adapter and str(adapter)), timeout=300
    )


def about(fleet):
    import ray

    return ray.get(fleet.engines["engine 0"].info.remote(), timeout=300)


@pytest.fixture(scope="module")
def whole(ray_cluster, model, adapter):
    """What one process says, without and with the adapter, and how much its cache holds."""
    with serve(model) as fleet:
        return ask(fleet).text, ask(fleet, adapter).text, about(fleet).kv_capacity_tokens


@pytest.mark.parametrize("adapters", ["merge", "lora"])
def test_two_halves_say_what_the_whole_says(whole, model, adapter, adapters):
    plain, adapted, capacity = whole
    assert plain != adapted
    with serve(model, tensor_parallel_size=2, adapters=adapters) as fleet:
        assert [ask(fleet).text, ask(fleet, adapter).text, ask(fleet).text] == [plain, adapted, plain]
        # Each half keeps half the heads of a token in a cache as large as the whole's.
        assert about(fleet).kv_capacity_tokens == pytest.approx(2 * capacity, rel=0.01)


@pytest.mark.parametrize("core", ["inside", "apart"])
def test_an_engine_that_is_killed_leaves_no_half_behind_and_comes_back(whole, model, core):
    with serve(model, tensor_parallel_size=2, core=core) as fleet:
        killed = about(fleet).pid
        parts = psutil.Process(killed).children(recursive=True)
        assert sum("Worker" in part.name() or "Worker" in " ".join(part.cmdline()) for part in parts) == 2
        os.kill(killed, 9)
        # On a GPU a half that stays would keep the memory that the next start needs.
        assert not psutil.wait_procs(parts, timeout=30)[1]
        deadline = time.monotonic() + 300
        while True:
            try:
                assert about(fleet).pid != killed
                break
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
        assert ask(fleet).text == whole[0]
        parts = psutil.Process(about(fleet).pid).children(recursive=True)
    assert not psutil.wait_procs(parts, timeout=30)[1]
