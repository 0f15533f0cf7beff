"""A checkpoint of random weights in Qwen2's architecture with a small ChatML tokenizer: seconds to build, megabytes to keep.

It speaks nonsense; what it serves is everything that a real checkpoint needs from the machinery around it.
"""

from pathlib import Path

import pytest

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_WORDS = """solve the household task reply with one line think or a command you are in the middle of a room looking quickly
around you see cabinet drawer desk fridge microwave sinkbasin shelf countertop your task is to put some hot clean cool mug apple
book in on go to take from move open close heat with use examine look inventory help nothing happens arrive at is closed pick up
system user assistant OK. first then 1 2 3 4 5 6 7 8 9 0"""


def build_tiny_model(
    folder: Path,
    *,
    seed: int = 0,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 2,  # vLLM on CPU wants head sizes of 32 and more
    kv_heads: int = 1,
    intermediate: int = 176,
    vocab: int = 512,
    context: int = 2048,
) -> Path:
    """Write a loadable Hugging Face checkpoint (fp32, tied embeddings) into `folder`; equal seeds give equal weights."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _tokenizer(vocab, context)
    config = Qwen2Config(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config).float()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_tiny_adapter(
    model_folder: Path, folder: Path, *, seed: int = 0, rank: int = 4, scale: float = 1.0
) -> Path:
    """Write a LoRA adapter of `model_folder` whose B matrices are random instead of zero, so that it changes every logit."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
        base.name_or_path = str(model_folder)
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=scale * 0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random checkpoint with 512 tokens."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random LoRA adapter of `tiny_model`."""
    return build_tiny_adapter(tiny_model, tmp_path_factory.mktemp("tiny_adapter"))


def _tokenizer(vocab: int, context: int):
    """Byte-level BPE: every string survives encoding and decoding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([_WORDS, _WORDS.replace(" ", "\n")], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=special[2], pad_token=special[0], model_max_length=context
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
