"""The tokenizer that is loaded is the one in the checkpoint's folder."""

import json
from pathlib import Path

import pytest

from actors.models import ModelError
from actors.tokenizer import load_tokenizer


def _checkpoint(folder: Path, template: str | None) -> Path:
    """A Qwen2 checkpoint's folder whose tokenizer keeps whole sentences together, as Qwen2's own never does."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "go to": 1, "cabinet 6": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Split("|", "removed")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return folder


def test_tokenizer_json_is_used_as_it_stands(tmp_path):
    tokenizer = load_tokenizer(str(_checkpoint(tmp_path, "{{ messages }}")))
    assert tokenizer.tokenize("go to|cabinet 6") == ["go to", "cabinet 6"]


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no chat template"):
        load_tokenizer(str(_checkpoint(tmp_path, None)))
