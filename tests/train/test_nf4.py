"""A base in 4 bits, by the loop that a GPU would run: on a CPU bitsandbytes has slower kernels for the same numbers."""

import json

import pytest
from fit_runs import curve, make_job, settings_for
from tiny_model import build_tiny_model

from train.adapter import WEIGHTS
from train.loop import WorkerSettings

bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: make test-nf4")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    # bitsandbytes wants widths of whole blocks.
    return build_tiny_model(tmp_path_factory.mktemp("nf4") / "model", hidden=64, intermediate=192)


@pytest.fixture(scope="module", autouse=True)
def layers_that_can_learn():
    # A CPU with AVX-512 bf16 packs a layer's weights for good when it first computes in eval mode, and cannot learn through it then.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
        yield


def nf4(config, model, folder, rows, **changes):
    # `TrainConfig` refuses it without a GPU, for it would be slow; here it may be.
    return settings_for(config, model, folder, rows, quantize="nf4", dtype="bfloat16", **changes)


@pytest.fixture(scope="module")
def unbroken(alone, config, model, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    alone(nf4(config, model, folder, rows))
    return folder


def test_the_layers_are_in_4_bits_and_the_rest_is_not(model):
    from train.base import load_base

    base = load_base(str(model), "bfloat16", quantize="nf4")

    layers = [module for module in base.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert len(layers) == 2 * 7
    for layer in layers:
        assert (
            layer.weight.quant_type == "nf4"
            and layer.weight.numel() == layer.in_features * layer.out_features // 2
        )
    assert base.get_output_embeddings().weight.dtype.is_floating_point


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_a_run_learns_nearly_what_the_whole_base_learns(
    alone, unbroken, config, model, rows, tmp_path, gradient_checkpointing
):
    alone(settings_for(config, model, tmp_path / "whole", rows, dtype="bfloat16"))
    alone(nf4(config, model, tmp_path / "nf4", rows, gradient_checkpointing=gradient_checkpointing))

    whole, quantized = curve(tmp_path / "whole"), curve(tmp_path / "nf4")
    # Rounding moves the loss of random weights by one in a hundred.
    assert quantized != whole and quantized[0][0] == pytest.approx(whole[0][0], rel=0.05)
    assert sum(loss for loss, _ in quantized[3:]) < sum(loss for loss, _ in quantized[:3])
    assert json.loads((tmp_path / "nf4" / "adapter" / "adapter.json").read_text())["steps"] == 6
    assert quantized == curve(unbroken)


def test_a_run_that_stops_goes_on_as_if_unbroken(alone, unbroken, config, model, rows, tmp_path):
    def stop(metrics):
        raise KeyboardInterrupt

    settings = nf4(config, model, tmp_path, rows)
    with pytest.raises(KeyboardInterrupt):
        alone(settings, stop)
    alone(settings)

    assert curve(tmp_path) == curve(unbroken)
    assert (tmp_path / "adapter" / WEIGHTS).read_bytes() == (unbroken / "adapter" / WEIGHTS).read_bytes()


def test_the_next_adapter_finds_the_base_as_it_was(alone, unbroken, config, model, rows, tmp_path):
    first = make_job(tmp_path / "first", rows, seed=5)
    second = make_job(tmp_path / "second", rows)  # seed 3, as `unbroken`
    settings = nf4(config, model, tmp_path, rows)
    alone(WorkerSettings(config=settings.config, model=settings.model, jobs=(first, second)))

    assert curve(tmp_path / "second") == curve(unbroken) != curve(tmp_path / "first")
