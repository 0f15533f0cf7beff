import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train import segments
from train.errors import MaskError, RowTooLongError
from train.schema import TOKENS_SCHEMA
from train.segments import segment_by_prompts
from train.tokenize import IGNORED, prove_mask, to_tokens_row, tokenize_row

sys.path.insert(0, str(Path(__file__).parent))
import templates

CHAT = [
    {"role": "system", "content": "Solve the household task."},
    {"role": "user", "content": "You are in a room.\nYour task is to: heat some mug."},
    {"role": "assistant", "content": "> think: first take the mug"},
    {"role": "user", "content": "OK."},
    {"role": "assistant", "content": "go to cabinet 6"},
]
APPEND_ONLY = [templates.CHATML, templates.CHATML_WITH_DEFAULT_SYSTEM, templates.HEADERS]


def make_tokenizer(template: str, *, normalise: bool = False):
    """A byte-level BPE with the special tokens of all the templates."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|begin|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
    ]
    special.append("<|eot_id|>")
    raw = Tokenizer(models.BPE())
    if normalise:
        raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(
        ["go to the cabinet, take the mug from\n\nshelf 1\n assistant user system"] * 3, trainer
    )
    end = "<|eot_id|>" if "eot_id" in template else "<|im_end|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|begin|>", eos_token=end, pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = template
    return tokenizer


TOKENIZERS = [make_tokenizer(t, normalise=i == 1) for i, t in enumerate(APPEND_ONLY)]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_loss_is_on_the_replies_and_their_ends_alone(tokenizer):
    input_ids, labels = tokenize_row(CHAT, tokenizer)

    assert (
        input_ids
        == tokenizer(tokenizer.apply_chat_template(CHAT, tokenize=False), add_special_tokens=False)[
            "input_ids"
        ]
    )
    end = tokenizer.eos_token
    said = tokenizer.decode([label for label in labels if label != IGNORED])
    assert said == f"> think: first take the mug{end}go to cabinet 6{end}"
    assert all(label in (IGNORED, token) for token, label in zip(input_ids, labels, strict=True))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_every_reply_continues_the_prompt_that_the_model_is_asked_with(tokenizer):
    input_ids, labels = tokenize_row(CHAT, tokenizer)

    for index in (2, 4):
        prompt = tokenizer.apply_chat_template(CHAT[:index], tokenize=False, add_generation_prompt=True)
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        assert input_ids[: len(prompt_ids)] == prompt_ids
        assert labels[len(prompt_ids) - 1] == IGNORED
        assert labels[len(prompt_ids)] == input_ids[len(prompt_ids)]


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
# Replies are stripped where they are read; a blank at their head would be read together with the template's own.
turns = st.lists(st.tuples(texts, texts.map(str.strip)), min_size=1, max_size=6)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(system=st.none() | texts, pairs=turns, last=st.none() | texts)
@settings(max_examples=60, deadline=None)
def test_any_conversation_gets_the_mask_that_rendering_by_prefixes_gives(tokenizer, system, pairs, last):
    chat = [{"role": "system", "content": system}] if system is not None else []
    for asked, said in pairs:
        chat += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    if last is not None:
        chat.append({"role": "user", "content": last})

    input_ids, labels = tokenize_row(chat, tokenizer)

    slow = segment_by_prompts(chat, tokenizer)
    expected = [
        (i, s.has_loss) for s in slow for i in tokenizer(s.text, add_special_tokens=False)["input_ids"]
    ]
    assert input_ids == [i for i, _ in expected]
    assert [label != IGNORED for label in labels] == [has_loss for _, has_loss in expected]
    assert len(prove_mask({"input_ids": input_ids, "labels": labels}, tokenizer, messages=chat)) == len(pairs)


def test_the_systems_own_default_message_carries_no_loss():
    input_ids, labels = tokenize_row(CHAT[1:], TOKENIZERS[1])

    assert TOKENIZERS[1].decode(input_ids).startswith("<|im_start|>system\nYou help.")
    assert prove_mask({"input_ids": input_ids, "labels": labels}, TOKENIZERS[1], messages=CHAT[1:]) == (
        "> think: first take the mug",
        "go to cabinet 6",
    )


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (templates.FORGETS_THINKING, "rewrites the reply"),
        (templates.FORGETS_THINKING_QUIETLY, "rewrites the reply"),
        (templates.UPPER_CASE, "message 2: the chat template rewrites the reply.*'> think: fir.*'> THINK"),
        (templates.NEVER_ENDS, "end-of-turn token"),
        (templates.ALTERNATES, "refuses the conversation: roles must alternate"),
    ],
)
def test_a_template_that_cannot_be_trained_on_is_refused(template, complaint):
    thinking = [*CHAT[:2], {"role": "assistant", "content": "<think>mug</think>go to cabinet 6"}, *CHAT[3:]]
    chat = thinking if "</think>" in template else CHAT

    with pytest.raises(MaskError, match=f"row t7.*({complaint})"):
        tokenize_row(chat, make_tokenizer(template), row_id="t7")


@pytest.mark.parametrize(
    ("chat", "complaint"),
    [
        (CHAT[:2], "no message of the assistant"),
        (CHAT[2:], "opens with the assistant"),
        (
            [CHAT[1], {"role": "assistant", "content": "go<|im_end|>on"}],
            r"holds the special token '<\|im_end\|>'",
        ),
        ([], "no message of the assistant among 0"),
    ],
)
def test_a_conversation_without_a_lesson_is_refused(chat, complaint):
    with pytest.raises(MaskError, match=complaint):
        tokenize_row(chat, TOKENIZERS[0])


def test_planted_masks_are_caught():
    tokenizer = TOKENIZERS[0]
    input_ids, labels = tokenize_row(CHAT, tokenizer)
    spoken = [i for i, label in enumerate(labels) if label != IGNORED]

    def prove(new_labels):
        return prove_mask(
            {"input_ids": input_ids, "labels": new_labels}, tokenizer, messages=CHAT, row_id="t7"
        )

    assert prove(labels) == ("> think: first take the mug", "go to cabinet 6")
    with pytest.raises(MaskError, match="row t7: no token carries loss"):
        prove([IGNORED] * len(labels))
    with pytest.raises(MaskError, match="every token carries loss"):
        prove(input_ids)
    with pytest.raises(MaskError, match="message 2: the tokens under loss are not the reply"):
        prove([IGNORED if i == spoken[0] else label for i, label in enumerate(labels)])
    with pytest.raises(MaskError, match="end-of-turn token"):
        prove([IGNORED if i == spoken[-1] else label for i, label in enumerate(labels)])
    with pytest.raises(MaskError, match="is not its token"):
        prove([labels[0] + 1, *labels[1:]])
    with pytest.raises(MaskError, match="message 2: the tokens under loss are not the reply"):
        prove([input_ids[i] if i == spoken[0] - 1 else label for i, label in enumerate(labels)])
    with pytest.raises(MaskError, match="labels"):
        prove(labels[:-1])


def test_a_row_that_is_too_long_is_an_error_and_never_cut():
    length = len(tokenize_row(CHAT, TOKENIZERS[0])[0])

    assert len(tokenize_row(CHAT, TOKENIZERS[0], max_length=length)[0]) == length
    with pytest.raises(RowTooLongError, match=f"row t7: .*{length} tokens.*max_length={length - 1}"):
        tokenize_row(CHAT, TOKENIZERS[0], row_id="t7", max_length=length - 1)


def test_a_row_has_the_declared_columns():
    row = {"messages": CHAT, "task_id": "a/train/1", "trajectory_id": "t7", "arm": "distill", "seed": 0}

    made = to_tokens_row(row, TOKENIZERS[0])

    assert set(made) == set(TOKENS_SCHEMA.names)
    assert (made["num_tokens"], made["arm"]) == (len(made["input_ids"]), "distill")
    assert 0 < made["num_loss_tokens"] < made["num_tokens"]


def test_a_long_conversation_costs_one_render(monkeypatch):
    tokenizer = make_tokenizer(templates.CHATML)
    chat = CHAT[:1] + CHAT[1:3] * 50
    for _ in range(10):  # The first rows are rendered both ways.
        tokenize_row(chat, tokenizer)
    renders = []
    render = segments.render
    monkeypatch.setattr(segments, "render", lambda *a, **k: renders.append(1) or render(*a, **k))

    started = time.perf_counter()
    for _ in range(20):
        tokenize_row(chat, tokenizer)

    assert len(renders) == 20
    assert (time.perf_counter() - started) / 20 < 0.2
