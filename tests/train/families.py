"""Chat templates with the habits of five families, and templates that nobody could train on; all written for these tests.

What matters of a family is what it does to a conversation: which words it adds, trims, moves or takes away from earlier turns.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.tokenizer import load_tokenizer

_ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
_TURN = "{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}"


def _chatml(default_system: str) -> str:
    return (
        "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\n"
        + default_system
        + "<|im_end|>\n' }}{% endif %}"
        "{% for m in messages %}" + _TURN + "{% endfor %}" + _ASK
    )


QWEN25 = _chatml("You are an assistant who was made in a test.")
SMOLLM2 = _chatml("You are a small assistant, trained by nobody.")

# Thinking of turns before the last question is taken out of the history; the last reply is shown with a thought, if only an empty one.
_QWEN3_TURNS = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') if '</think>' in m.content else '' %}"
    "{% set said = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{% if loop.index0 > ns.last %}{{ '<|im_start|>assistant\n<think>\n' ~ thought ~ '\n</think>\n\n' ~ said ~ '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>assistant\n' ~ said ~ '<|im_end|>\n' }}{% endif %}"
    "{% else %}" + _TURN + "{% endif %}{% endfor %}"
)
QWEN3 = _QWEN3_TURNS + _ASK
# The same with thinking turned off: the question ends with a thought that is already over.
QWEN3_SILENT = _QWEN3_TURNS + _ASK.replace("assistant\n", "assistant\n<think>\n\n</think>\n\n")
# The empty thought stays in the history, as in templates made for training.
QWEN3_KEPT = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' ~ m.content ~ '<|im_end|>\n' }}{% else %}"
    + _TURN
    + "{% endif %}{% endfor %}"
    + _ASK.replace("assistant\n", "assistant\n<think>\n\n</think>\n\n")
)

_LLAMA_HEAD = "'<|start_header_id|>' ~ {} ~ '<|end_header_id|>\n\n'"


def _llama3(date: str) -> str:
    return (
        "{{ bos_token }}{% set first = messages[0].content | trim if messages[0].role == 'system' else '' %}"
        + date
        + "{{ "
        + _LLAMA_HEAD.format("'system'")
        + " ~ 'Knows the world up to: May 2020\n'"
        + " ~ ('Day: ' ~ date_string ~ '\n\n' if date_string else '') ~ first ~ '<|eot_id|>' }}"
        "{% for m in messages if m.role != 'system' %}{{ "
        + _LLAMA_HEAD.format("m.role")
        + " ~ m.content | trim ~ '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ " + _LLAMA_HEAD.format("'assistant'") + " }}{% endif %}"
    )


LLAMA3 = _llama3("{% set date_string = '' %}")
LLAMA3_DATED = _llama3("{% if date_string is not defined %}{% set date_string = '1 May 2020' %}{% endif %}")
LLAMA3_TODAY = _llama3(
    "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
)
TODAY_ALWAYS = _llama3("{% set date_string = strftime_now('%d %b %Y') %}")

_MISTRAL_ALTERNATES = (
    "{% set has_system = messages[0].role == 'system' %}{% set talk = messages[1:] if has_system else messages %}"
    "{% for m in talk %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('after a system message, user and assistant must take turns') }}{% endif %}{% endfor %}"
)


def _mistral(with_system: str, before_reply: str) -> str:
    return (
        _MISTRAL_ALTERNATES + "{{ bos_token }}{% for m in talk %}{% if m.role == 'user' %}"
        "{{ '[INST] ' ~ (messages[0].content ~ '\n\n' if has_system and "
        + with_system
        + " else '') ~ m.content ~ '[/INST]' }}"
        "{% else %}{{ '" + before_reply + "' ~ m.content | trim ~ eos_token }}{% endif %}{% endfor %}"
    )


MISTRAL = _mistral("loop.first", " ")
MISTRAL_TIGHT = _mistral("loop.first", "")
MISTRAL_LAST = _mistral(
    "loop.index0 >= loop.length - 2 and (loop.last or add_generation_prompt is false)", " "
)
"""The system prompt wanders to the newest question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    template: str
    bos: str | None = None
    eos: str = "<|im_end|>"
    plain: tuple[str, ...] = ()
    """Added tokens that are not special, such as the thinking marks of Qwen3."""
    regex: str | None = None
    """How letters are cut before they are merged; None: as GPT-2 did."""


_THINK = ("<think>", "</think>")
_LETTERS_OR_BREAKS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
FAMILIES = {
    "qwen2.5": Family(template=QWEN25, regex=_LETTERS_OR_BREAKS),
    "qwen3": Family(template=QWEN3, plain=_THINK, regex=_LETTERS_OR_BREAKS),
    "qwen3-kept": Family(template=QWEN3_KEPT, plain=_THINK, regex=_LETTERS_OR_BREAKS),
    "llama-3": Family(template=LLAMA3, bos="<|begin|>", eos="<|eot_id|>", regex=_LETTERS_OR_BREAKS),
    "llama-3-dated": Family(
        template=LLAMA3_DATED, bos="<|begin|>", eos="<|eot_id|>", regex=_LETTERS_OR_BREAKS
    ),
    "llama-3-today": Family(
        template=LLAMA3_TODAY, bos="<|begin|>", eos="<|eot_id|>", regex=_LETTERS_OR_BREAKS
    ),
    "mistral": Family(template=MISTRAL, bos="<s>", eos="</s>"),
    "mistral-tight": Family(template=MISTRAL_TIGHT, bos="<s>", eos="</s>"),
    "smollm2": Family(template=SMOLLM2),
}

_SAID = "{{ '<|im_start|>' ~ m.role ~ '\n' ~ said ~ '<|im_end|>\n' }}"
_DROPS_BLANKS = "{% for m in messages %}{% set said = m.content.split() | join(' ') if m.role == 'assistant' else m.content %}"
_DROPS_BLANKS += _SAID + "{% endfor %}" + _ASK
_KEEPS_TWO_TURNS = (
    "{% for m in messages %}{% if loop.first or loop.revindex <= 4 %}"
    + _TURN
    + "{% endif %}{% endfor %}"
    + _ASK
)
_NEWEST_FIRST = "{% for m in messages | reverse %}" + _TURN + "{% endfor %}" + _ASK
_CUTS_NEWEST = (
    "{% for m in messages %}{% set said = m.content[:30] if loop.last and m.role == 'user' else m.content %}"
    + _SAID
    + "{% endfor %}"
    + _ASK
)
_GLUED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content ~ '<|im_end|>' }}{% else %}"
    "{{ '<|im_start|>' ~ m.content ~ ' user ' }}{% endif %}{% endfor %}"
)
_OTHER_END = (
    "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content }}"
    "{{ '<|im_end|>\n' if m.role != 'assistant' else '\n' }}{% endfor %}" + _ASK
)
ADVERSARIES = {
    "thinks with silence prefilled": (Family(template=QWEN3_SILENT, plain=_THINK), "does not keep earlier turns|rewrites the reply"),
    "system prompt wanders": (Family(template=MISTRAL_LAST, bos="<s>", eos="</s>"), "does not keep earlier turns"),
    "blanks inside replies dropped": (Family(template=_DROPS_BLANKS), "message 2: the chat template rewrites the reply"),
    "earlier turns forgotten": (Family(template=_KEEPS_TWO_TURNS), "does not keep earlier turns"),
    "newest turn first": (Family(template=_NEWEST_FIRST), "does not keep earlier turns|rewrites the reply"),
    "newest question cut": (Family(template=_CUTS_NEWEST), "does not keep earlier turns"),
    "question glued to the reply": (Family(template=_GLUED), "reads letters of two turns as one token"),
    "replies without an end": (Family(template=_OTHER_END), "end-of-turn token"),
    "the day of the rendering": (Family(template=TODAY_ALWAYS, bos="<|begin|>", eos="<|eot_id|>"), "date of the day"),
}  # fmt: skip
"""What each refuses with."""

_LINES = [
    "go to the cabinet 1, take the mug from\n\nshelf 1\n assistant user system think: I said so I see"
] * 4
_SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
]
_SPECIAL += ["<|eot_id|>", "<s>", "</s>", "[INST]", "[/INST]"]


def tokenizer_of(family: Family, folder: Path) -> Any:
    """A byte-level BPE with the family's template, written as a checkpoint and read as the engine reads one."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    cut = [] if family.regex is None else [pre_tokenizers.Split(Regex(family.regex), "isolated")]
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family.regex is None)
    raw.pre_tokenizer = pre_tokenizers.Sequence([*cut, level])
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(_LINES, trainer)
    raw.add_tokens([AddedToken(token, normalized=False) for token in family.plain])
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=family.bos, eos_token=family.eos, pad_token="<|endoftext|>"
    )
    made.chat_template = family.template
    made.save_pretrained(folder)
    return load_tokenizer(str(folder))
