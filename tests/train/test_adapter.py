import json
import shutil

import pytest

from train.adapter import MANIFEST, WEIGHTS, check_base, check_model, hash_model, verify_adapter
from train.errors import AdapterError, TrainError

PROBE = [5, 9, 100, 7, 300]


@pytest.fixture(scope="module")
def trained(tiny_model, tiny_adapter):
    """The adapter's tensors and logits, as a trainer would have them in memory."""
    from peft import PeftModel
    from safetensors.torch import load_file

    from train.base import load_base, probe

    model = PeftModel.from_pretrained(load_base(str(tiny_model), "float32"), str(tiny_adapter)).eval()
    return load_file(tiny_adapter / WEIGHTS), probe(model, PROBE)


def verify(folder, tiny_model, trained, tensors=None):
    from train.base import load_base

    verify_adapter(
        folder,
        load_base(str(tiny_model), "float32"),
        trained=tensors or trained[0],
        probe_ids=PROBE,
        trained_logits=trained[1],
        dtype="float32",
    )


@pytest.fixture
def copy(tiny_adapter, tmp_path):
    return shutil.copytree(tiny_adapter, tmp_path / "adapter")


def test_an_adapter_that_computes_what_was_trained_passes(tiny_adapter, tiny_model, trained):
    verify(tiny_adapter, tiny_model, trained)


def test_an_adapter_of_zeros_is_caught(copy, tiny_model, trained):
    from safetensors.torch import save_file

    zeroed = {name: t * 0 if "lora_B" in name else t for name, t in trained[0].items()}
    save_file(zeroed, copy / WEIGHTS)

    with pytest.raises(AdapterError, match="is not what was trained"):
        verify(copy, tiny_model, trained)
    with pytest.raises(AdapterError, match="every lora_B is zero"):
        verify(copy, tiny_model, trained, zeroed)


def test_lost_and_emptied_tensors_are_caught(copy, tiny_model, trained):
    import torch
    from safetensors.torch import save_file

    names = sorted(trained[0])
    save_file({n: trained[0][n] for n in names[1:]}, copy / WEIGHTS)
    with pytest.raises(AdapterError, match=f"{len(names) - 1} tensors, {len(names)} were trained"):
        verify(copy, tiny_model, trained)
    save_file(trained[0] | {names[0]: torch.zeros(0)}, copy / WEIGHTS)
    with pytest.raises(AdapterError, match=r"has shape \[0\]"):
        verify(copy, tiny_model, trained)
    (copy / WEIGHTS).write_bytes(b"{}")
    with pytest.raises(AdapterError, match="cannot be read back"):
        verify(copy, tiny_model, trained)


def test_an_adapter_that_is_scaled_otherwise_is_caught(copy, tiny_model, trained):
    settings = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 1}))

    with pytest.raises(AdapterError, match="does not compute what was trained: logits differ by"):
        verify(copy, tiny_model, trained)


def test_an_adapter_of_another_base_is_named_with_both(copy, tiny_model, tmp_path):
    other = shutil.copytree(tiny_model, tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    (copy / MANIFEST).write_text(
        json.dumps({"base": str(tiny_model), "base_sha256": hash_model(str(tiny_model))})
    )

    check_base(copy, str(tiny_model))
    check_base(copy, str(shutil.copytree(tiny_model, tmp_path / "same")))
    with pytest.raises(AdapterError, match=f"trained on '{tiny_model}' but the model is '{other}'"):
        check_base(copy, str(other))
    with pytest.raises(AdapterError, match=r"adapter.json is missing"):
        check_base(tmp_path, str(other))


def test_large_weights_are_told_apart_by_their_edges(tmp_path, monkeypatch):
    monkeypatch.setattr("train.adapter._WHOLE_BYTES", 100)
    monkeypatch.setattr("train.adapter._EDGE_BYTES", 10)
    (tmp_path / "model.safetensors").write_bytes(b"a" * 200)
    first = hash_model(str(tmp_path))

    (tmp_path / "model.safetensors").write_bytes(b"b" + b"a" * 199)
    assert hash_model(str(tmp_path)) != first
    (tmp_path / "model.safetensors").write_bytes(b"a" * 199 + b"b")
    assert hash_model(str(tmp_path)) != first
    (tmp_path / "model.safetensors").write_bytes(b"a" * 200)
    assert hash_model(str(tmp_path)) == first


def test_a_missing_checkpoint_is_named(tmp_path, tiny_model):
    check_model(str(tiny_model))
    check_model("Qwen/Qwen2.5-7B-Instruct")
    with pytest.raises(TrainError, match=r"no checkpoint in .*config.json is missing"):
        check_model(str(tmp_path))
    with pytest.raises(TrainError, match="the folder does not exist"):
        check_model(str(tmp_path / "nowhere"))
