"""What the base is computed with: settings that cannot be, and packages that are not there."""

import importlib.util

import pytest

from train.base import means
from train.config import MACHINE_SETTINGS, TrainConfig, preset
from train.errors import TrainError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantize": "nf4"}, "quantize='nf4' needs a GPU"),
        ({"quantize": "nf4", "use_gpu": True, "zero_stage": 3}, "cannot be spread over workers"),
        ({"quantize": "nf4", "use_gpu": True, "dtype": "float32"}, "computes in bfloat16"),
        ({"attention": "flash_attention_2"}, "needs a GPU and dtype"),
        ({"attention": "flash_attention_2", "use_gpu": True, "dtype": "float32"}, "needs a GPU and dtype"),
        ({"kernels": "liger"}, "kernels='liger' needs a GPU"),
        ({"min_workers": 3}, "min_workers=3 is more than num_workers=2"),
        ({"block_tokens": 64}, "set packing = true"),
        ({"max_length": "longest"}, "data"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)


def test_what_a_machine_decides_is_no_part_of_what_an_adapter_is():
    one = TrainConfig(num_workers=2, zero_stage=1, packing=True, block_tokens=64)

    assert one.fingerprint == TrainConfig(num_workers=1, zero_stage=3, micro_batch_rows=8).fingerprint
    assert one.fingerprint != TrainConfig(num_workers=2, rank=8).fingerprint
    assert set(TrainConfig.model_fields) >= MACHINE_SETTINGS


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        ({"quantize": "nf4"}, "bitsandbytes"),
        ({"kernels": "liger"}, "liger_kernel"),
        ({"attention": "flash_attention_2"}, "flash_attn"),
    ],
)
def test_a_package_that_is_asked_for_and_absent_is_named(settings, package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(TrainError, match=rf"needs the package {package}, which is not installed"):
        means(TrainConfig(use_gpu=True, **settings))


def test_left_to_itself_a_gpu_uses_what_is_installed_and_a_cpu_does_not(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    fused, plain = means(preset("recommended")), means(TrainConfig())

    assert (fused.attention, fused.kernels) == ("flash_attention_2", "liger")
    assert (plain.attention, plain.kernels) == ("sdpa", "torch")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert means(preset("recommended")).attention == "sdpa"
