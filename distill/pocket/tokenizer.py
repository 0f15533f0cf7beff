"""The pocket model's tokenizer: byte-level BPE whose pieces are a vocabulary's phrases and names.

A sentence frame such as `You arrive at` is one token; any other text falls back to pieces of words and in the end to bytes. Knows neither
environments nor habits.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.pocket.vocabulary import Vocabulary

END, PAD = "<|im_end|>", "<|endoftext|>"
SPECIALS = (
    PAD,
    END,
    "<|im_start|>",
    # A whole turn's frame is one token; the text stays plain ChatML.
    "<|im_start|>system\n",
    "\n<|im_start|>user\n",
    "\n<|im_start|>assistant\n",
)
ASSISTANT = "\n<|im_start|>assistant\n"
PARTS = "parts.json"
"""For training only; a model's folder does without it."""
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}"
    "{{- '\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenParts:
    """For each token the word and the number it is made of, as indices; 0 means none."""

    words: tuple[int, ...]
    numbers: tuple[int, ...]


def build_tokenizer(
    folder: Path,
    vocabulary: Vocabulary,
    *,
    frames: Sequence[str],
    words: Iterable[str],
    texts: Iterable[str],
) -> None:
    """Write the tokenizer's files and `parts.json`. `frames` are further whole phrases (the prompt), `words`
    (with their leading blank, if any) get a token each, `texts` teach the pieces that other words are made of."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    phrases = [*frames, *vocabulary.phrases]
    # A phrase must not stop inside a word (", a" in ", apple").
    literal = "|".join(
        re.escape(p) + (r"(?![A-Za-z])" if p[-1].isalpha() else "")
        for p in sorted(phrases, key=lambda p: -len(p))
    )
    # Leading newlines and the dot of a sentence belong to the frames above; names next, then words, digits, signs.
    pattern = rf"{literal}|{vocabulary.pattern}| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]|\s"
    pre = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?[A-Za-z]+|[^A-Za-z]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 250, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    learner.train_from_iterator(sorted(texts), trainer)
    learnt = json.loads(learner.to_str())["model"]
    vocab: dict[str, int] = {token: index for index, token in enumerate(SPECIALS)}
    pieces = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    names = [name.text for name in vocabulary.names]
    whole = sorted(set(words))
    for piece in [*pieces, *(_bytes_as_signs(text) for text in (*phrases, *names, *whole))]:
        vocab.setdefault(piece, len(vocab))
    merges = [
        tuple(merge) if not isinstance(merge, str) else tuple(merge.split(" ")) for merge in learnt["merges"]
    ]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(_CONFIG, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (folder / PARTS).write_text(json.dumps(_parts(tokenizer.get_vocab(), vocabulary)) + "\n")


def load_parts(folder: Path) -> TokenParts:
    """Which tokens share what is learnt of them, as `build_tokenizer` wrote it."""
    held = json.loads((folder / PARTS).read_text())
    return TokenParts(words=tuple(held["words"]), numbers=tuple(held["numbers"]))


def _parts(vocab: Mapping[str, int], vocabulary: Vocabulary) -> dict[str, list[int]]:
    names = {_bytes_as_signs(name.text): name for name in vocabulary.names}
    words: dict[str, int] = {}
    word_of, number_of = [0] * len(vocab), [0] * len(vocab)
    for token, index in sorted(vocab.items(), key=lambda item: item[1]):
        if token in names:
            word_of[index] = words.setdefault(names[token].word, len(words) + 1)
            number_of[index] = names[token].number
    return {"words": word_of, "numbers": number_of}


_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    # There is no code in the folder: with this key transformers 5 takes tokenizer.json as it stands, where it would otherwise
    # rebuild Qwen's own splitting of text for every checkpoint of that architecture.
    "trust_remote_code": True,
    "eos_token": END,
    "pad_token": PAD,
    "bos_token": None,
    "unk_token": None,
    "model_max_length": 2048,
    "clean_up_tokenization_spaces": False,
    "chat_template": CHAT_TEMPLATE,
}


def _bytes_as_signs(text: str) -> str:
    """The text in the alphabet of byte-level BPE."""
    return "".join(_SIGN_OF_BYTE[byte] for byte in text.encode())


def _sign_table() -> dict[int, str]:
    """Printable bytes stand for themselves, the others for signs from 256 upward, as byte-level BPE has it."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in printable}
    rest = [byte for byte in range(256) if byte not in table]
    return table | {byte: chr(256 + i) for i, byte in enumerate(rest)}


_SIGN_OF_BYTE = _sign_table()
