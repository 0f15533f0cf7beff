import json
from pathlib import Path

import pytest
from tiny_model import build_tiny_adapter, build_tiny_model

from actors.models import POCKETS, ModelError, adapter_digest, check_adapter, choose_threads, resolve_model


def check(adapter, model, *, name=None, max_rank=64):
    check_adapter(str(adapter), model=name or str(model), model_folder=str(model), max_rank=max_rank)


def edited(adapter, folder, **changes):
    folder.mkdir()
    for file in Path(adapter).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return folder


def test_an_adapter_of_this_base_passes_wherever_the_base_lies(tiny_model, tiny_adapter, tmp_path):
    check(tiny_adapter, tiny_model)
    moved = tmp_path / "elsewhere" / tiny_model.name
    moved.parent.mkdir()
    moved.symlink_to(tiny_model)
    check(tiny_adapter, moved)


def test_an_adapter_of_another_base_is_refused_by_name(tiny_model, tiny_adapter, tmp_path):
    other = edited(tiny_adapter, tmp_path / "a", base_model_name_or_path="Qwen2.5-7B-Instruct")
    with pytest.raises(
        ModelError, match=r"trained on 'Qwen2.5-7B-Instruct' but the engine serves 'big'; serve it on its own"
    ):
        check(other, tiny_model, name="big")


def test_an_adapter_of_another_shape_is_refused_even_under_the_same_name(tiny_model, tmp_path):
    larger = build_tiny_model(tmp_path / tiny_model.name, hidden=128, heads=2, kv_heads=1)
    adapter = build_tiny_adapter(larger, tmp_path / "adapter")
    named = edited(adapter, tmp_path / "named", base_model_name_or_path=str(tiny_model))
    with pytest.raises(ModelError, match=r"does not fit .* has shape \[.*128.*\], the base has \[.*64.*\]"):
        check(named, tiny_model)


def test_a_rank_beyond_the_engines_is_refused(tiny_model, tiny_adapter):
    with pytest.raises(
        ModelError, match="rank 4 but the engine allows max_lora_rank = 2; raise max_lora_rank"
    ):
        check(tiny_adapter, tiny_model, max_rank=2)


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_incomplete_adapter_is_refused(tiny_model, tiny_adapter, tmp_path, missing):
    broken = edited(tiny_adapter, tmp_path / "broken")
    (broken / missing).unlink()
    with pytest.raises(ModelError, match=f"is incomplete: {missing} is missing"):
        check(broken, tiny_model)


def test_an_adapter_trained_anew_in_the_same_folder_has_another_digest(tiny_adapter, tmp_path):
    one, same = edited(tiny_adapter, tmp_path / "a"), edited(tiny_adapter, tmp_path / "b")
    other = edited(tiny_adapter, tmp_path / "c", lora_alpha=99)
    assert adapter_digest(str(one)) == adapter_digest(str(same)) != adapter_digest(str(other))


def test_a_folder_is_a_model_only_with_a_checkpoint(tiny_model, tmp_path):
    assert resolve_model(str(tiny_model)) == str(tiny_model)
    with pytest.raises(ModelError, match="holds no checkpoint"):
        resolve_model(str(tmp_path))
    with pytest.raises(ModelError, match="holds no checkpoint"):
        resolve_model("./no/such/folder")


def test_an_unknown_name_is_neither_folder_nor_on_the_hub():
    with pytest.raises(ModelError, match="neither a folder here nor on the Hugging Face hub"):
        resolve_model("nobody/no-such-model")


@pytest.mark.parametrize("name", POCKETS)
def test_a_missing_pocket_model_says_how_to_make_it(name, monkeypatch, tmp_path):
    monkeypatch.setitem(POCKETS, name, tmp_path)
    with pytest.raises(ModelError, match=f"train it with `make {name}`"):
        resolve_model(name)


def test_small_models_get_one_thread(tiny_model):
    assert choose_threads(str(tiny_model), cores=8, replicas=1) == 1
