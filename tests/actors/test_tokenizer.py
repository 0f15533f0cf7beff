"""The tokenizer that is loaded is the one in the checkpoint's folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actors.models import ModelError
from actors.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]


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


def test_a_host_reads_without_pytorch(tmp_path):
    """In a process of its own: what is imported once stays."""
    folder = _checkpoint(tmp_path, "{{ messages[0].content }}|cabinet 6")
    program = f"""
import sys
from actors.tokenizer import import_tokenizers, load_tokenizer
import_tokenizers()
tokenizer = load_tokenizer({str(folder)!r})
text = tokenizer.apply_chat_template([{{"role": "user", "content": "go to"}}], tokenize=False)
print(tokenizer(text, add_special_tokens=False)["input_ids"], "torch" in sys.modules)
import torch
print(torch.zeros(1).item())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split("\n")[:2] == ["[1, 2] False", "0.0"]
