"""Chats read in pieces are the chats read whole, or are read whole."""

import random
from pathlib import Path

import pytest
from tiny_model import CHAT_TEMPLATE, _tokenizer

from actors.chat import Message
from actors.codec import ChatCodec, pieces_of
from actors.models import POCKETS
from actors.tokenizer import load_tokenizer

SNIPPETS = (
    "go to cabinet 6",
    "You arrive at drawer 2. It is closed.",
    " ",
    "",
    "\n",
    "\n\n",
    "think: the mug 1 is wanted",
    "  two  spaces  ",
    "Ünïcödé – 家",
    "<|im_end|>",
    "<|im_start|>user\n",
    "\n<|im_start|>",
    "<|im_",
)


@pytest.fixture(scope="module", params=["bytes", "pocket", "metaspace"])
def tokenizer(request):
    if request.param == "bytes":
        return _tokenizer(512, 2048)
    if request.param == "pocket":
        if not Path(POCKETS["pocket"], "tokenizer.json").is_file():
            pytest.skip("the pocket model is not trained yet: make pocket")
        return load_tokenizer(str(POCKETS["pocket"]))
    return metaspace()


def metaspace(**flags):
    """As Llama's first one: a mark of space before a text's first word."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted({c for s in SNIPPETS for c in s} | set("abcdefghijklmnopqrstuvwxyz<|>_\n▁"))
    words = Tokenizer(models.BPE(vocab={"[UNK]": 0} | {c: n + 1 for n, c in enumerate(letters)}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    words.decoder = decoders.Metaspace(prepend_scheme="first")
    made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    marks = [
        AddedToken(mark, special=True, normalized=False, **flags) for mark in ("<|im_start|>", "<|im_end|>")
    ]
    made.add_special_tokens({"additional_special_tokens": marks})
    made.chat_template = CHAT_TEMPLATE
    return made


def chats(number):
    """Chats as an episode makes them: each grows by a reply and an observation."""
    draw = random.Random(0)
    for _ in range(number):
        chat = [Message(role="system", content=text(draw)), Message(role="user", content=text(draw))]
        for _ in range(4):
            yield tuple(chat)
            chat.append(Message(role="assistant", content=text(draw)))
            chat.append(Message(role="user", content=text(draw)))


def text(draw):
    return "".join(draw.choices(SNIPPETS, k=draw.randint(0, 4)))


def test_pieces_read_as_the_whole(tokenizer):
    codec = ChatCodec(tokenizer)
    for chat in chats(60):
        assert codec._pieces is not None
        # Past the checked ones, so that pieces stand for themselves.
        codec._unchecked = 0
        assert codec.encode(chat) == codec.encode_whole(chat)


def test_a_grown_chat_is_not_read_again(tokenizer):
    codec = ChatCodec(tokenizer)
    codec._unchecked = 0
    chat = tuple(Message(role="user", content=f"go to drawer {n}") for n in range(20))
    codec.encode(chat)
    read = codec._pieces._read.cache_info().misses
    codec.encode((*chat, Message(role="assistant", content="mug"), Message(role="user", content="apple")))
    assert codec._pieces._read.cache_info().misses - read <= 3


def test_marks_that_take_in_their_neighbours_are_not_cut_at():
    assert pieces_of(metaspace()) is not None
    assert pieces_of(metaspace(rstrip=True)) is None


def test_a_tokenizer_that_reads_pieces_otherwise_is_read_whole(caplog):
    class Odd:
        """Its ids depend on where in the text a letter stands, which no flag says."""

        is_fast, split_special_tokens = True, False

        def __init__(self):
            self.added_tokens_decoder = metaspace().added_tokens_decoder

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [ord(letter) + n for n, letter in enumerate(text)]}

        def apply_chat_template(self, chat, **_):
            return "".join(f"<|im_start|>{message['content']}" for message in chat)

    codec = ChatCodec(Odd())
    chat = (Message(role="system", content="a"), Message(role="user", content="b"))
    assert codec.encode(chat) == codec.encode_whole(chat)
    assert "reads pieces of a chat unlike the whole" in caplog.text
    assert codec.encode(chat) == codec.encode_whole(chat)


def test_text_ends_at_the_first_stop(tokenizer):
    codec = ChatCodec(tokenizer)
    ids = tokenizer("go to mug\ntake mug", add_special_tokens=False)["input_ids"]
    assert codec.decode(ids, ("\n",)).strip() == "go to mug"
    assert codec.decode(ids, ("take", "to")).strip() == "go"


def test_every_token_with_the_stop_in_it_stops(tokenizer):
    codec = ChatCodec(tokenizer)
    ids = codec.stop_ids(("m",))
    assert ids
    assert all(("m" in tokenizer.decode([n])) == (n in set(ids)) for n in range(len(tokenizer)))
    assert codec.stop_ids(("mu",)) is None
