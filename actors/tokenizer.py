"""A checkpoint's own tokenizer: the engine's prompts and the training rows must be cut into the same tokens."""

import json
import sys
from pathlib import Path
from typing import Any

from actors.models import ModelError

_DAY = "26 Jul 2024"
"""For templates that tell the model what day it is: a prompt must be the same on the day of training and on that of evaluation."""
_AS_WRITTEN = {"PreTrainedTokenizerFast", "TokenizersBackend"}
"""Classes that say: use `tokenizer.json` as it stands."""


def load_tokenizer(folder: str) -> Any:
    """The tokenizer of a checkpoint's folder, with the chat template that it needs; `ModelError` without one."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    config = Path(folder) / "tokenizer_config.json"
    stated = json.loads(config.read_text()).get("tokenizer_class") if config.is_file() else None
    # AutoTokenizer goes by the architecture: for a Qwen2 model it replaces the pre-tokenizer of `tokenizer.json` by Qwen2's own,
    # and a model with another tokenizer then reads other tokens than it was trained on.
    kind = PreTrainedTokenizerFast if stated in _AS_WRITTEN else AutoTokenizer
    try:
        tokenizer = kind.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} has no tokenizer that can be read ({error}); put the model's tokenizer files there"
        ) from error
    if tokenizer.chat_template is None:
        raise ModelError(
            f"the tokenizer in {folder} has no chat template; Offbook speaks to chat models only, add chat_template.jinja"
        )
    if isinstance(tokenizer.chat_template, str) and "strftime_now" in tokenizer.chat_template:
        tokenizer.chat_template = f"{{%- set date_string = '{_DAY}' -%}}" + tokenizer.chat_template
    return tokenizer


def import_tokenizers() -> None:
    """Import what a tokenizer needs and not PyTorch: transformers would, which costs each env host seconds and 250 MB."""
    if "torch" in sys.modules or "transformers" in sys.modules:
        return
    # A module that is None counts as not installed; transformers then keeps to its tokenizers.
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: F401
    finally:
        del sys.modules["torch"]
