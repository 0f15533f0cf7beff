"""The pocket model's tokenizer: byte-level BPE whose pieces are the phrases of a household, names with their numbers among them.

`mug 1` is one token, so that copying a name is copying one token; a sentence frame such as `You arrive at` is one as well. Any
other text falls back to pieces of words and in the end to bytes. Knows nothing of habits.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.alfworld.catalogue import FIXTURE_TYPES, RECEPTACLE_TYPES, THING_TYPES
from envs.alfworld.world import BANNER

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

_MOST_NUMBERED = {"cabinet": 30, "drawer": 30, "shelf": 16}
"""Highest number of a name with a token of its own, where rooms have many; the others go to `_MOST`."""
_MOST = 7
_PHRASES = (
    BANNER,
    "You are in the middle of a room. Looking quickly around you, you see a",
    ".\n\nYour task is to:",
    "You are in the middle of a room. Looking quickly around you, you see nothing.",
    "You arrive at",
    ". On the",
    ". The",
    ", you see a",
    ", you see nothing.",
    " is closed.",
    " is open. In it, you see a",
    " is open. In it, you see nothing.",
    ", and a",
    ", a",
    "You open the",
    "You close the",
    "You pick up the",
    "You move the",
    "You heat the",
    "You cool the",
    "You clean the",
    "You turn on the",
    " from the",
    " to the",
    " using the",
    "You are facing the",
    ". Next to it, you see nothing.",
    "You are carrying: a",
    "You are not carrying anything.",
    "There's nothing special about",
    "This is a normal",
    ". In it, you see nothing.",
    "Nothing happens.",
    "OK.",
    "think:",
    " I need a",
    " I need two",
    " for the",
    " and the",
    ". I look inside.",
    ". I look around.",
    " I take only that.",
    " I take the first.",
    "go to",
    "take",
    "move",
    "put",
    "open",
    "close",
    "clean",
    "heat",
    "cool",
    "use",
    "examine",
    "look",
    "inventory",
    " in/on",
    " from",
    " to",
    " with",
    "\n- ",
    "\n\n",
)
_NAMES = "|".join(sorted({*RECEPTACLE_TYPES, *THING_TYPES, *FIXTURE_TYPES}, key=lambda w: (-len(w), w)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenParts:
    """For each token the word and the number it is made of, as indices; 0 means none."""

    words: tuple[int, ...]
    numbers: tuple[int, ...]


def build_tokenizer(
    folder: Path, *, frames: Sequence[str], words: Iterable[str], texts: Iterable[str]
) -> None:
    """Write the tokenizer's files. `frames` are further whole phrases (the prompt), `words`
    (with their leading blank, if any) get a token each, `texts` teach the pieces that other words are made of."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    phrases = [*frames, *_PHRASES]
    # A phrase must not stop inside a word (", a" in ", apple").
    literal = "|".join(
        re.escape(p) + (r"(?![A-Za-z])" if p[-1].isalpha() else "")
        for p in sorted(phrases, key=lambda p: -len(p))
    )
    # Leading newlines and the dot of a sentence belong to the frames above; names next, then words, digits, signs.
    pattern = rf"{literal}| (?:{_NAMES}) [0-9]{{1,2}}(?![0-9])| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]|\s"
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
    names = [f" {n} {i}" for n in (*RECEPTACLE_TYPES, *THING_TYPES) for i in range(1, _limit(n) + 1)]
    plain = [f" {n}" for n in (*RECEPTACLE_TYPES, *THING_TYPES, *FIXTURE_TYPES)]
    whole = sorted(set(words))
    for piece in [*pieces, *(_bytes_as_signs(text) for text in (*phrases, *names, *plain, *whole))]:
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


def token_parts(vocab: Mapping[str, int]) -> TokenParts:
    """Which tokens are a name, with or without a number, so that they can share what is learnt of them."""
    words: dict[str, int] = {}
    word_of, number_of = [0] * len(vocab), [0] * len(vocab)
    pattern = re.compile(r"Ġ([a-z]+)(?:Ġ(\d+))?")
    known = {*RECEPTACLE_TYPES, *THING_TYPES, *FIXTURE_TYPES}
    for token, index in vocab.items():
        match = pattern.fullmatch(token)
        if match and match[1] in known:
            word_of[index] = words.setdefault(match[1], len(words) + 1)
            number_of[index] = int(match[2] or 0)
    return TokenParts(words=tuple(word_of), numbers=tuple(number_of))


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


def _limit(name: str) -> int:
    return _MOST_NUMBERED.get(name, _MOST)


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
