"""Chats to token ids and back, as one checkpoint writes and reads them. Knows no engine: hosts and engines use it alike."""

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from actors.chat import Completion, Message
from actors.wire import Answer

log = logging.getLogger(__name__)

_CHECKED = 16
"""Chats that are read both ways before pieces are believed."""


class ChatCodec:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pieces = pieces_of(tokenizer)
        self._unchecked = _CHECKED
        self._known_stops: dict[tuple[str, ...], list[int] | None] = {}

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """`encode_whole`, and quick for a chat that has grown by a turn."""
        if self._pieces is None:
            return self.encode_whole(messages)
        text = self._written(messages)
        ids = self._pieces.encode(text)
        if self._unchecked:
            self._unchecked -= 1
            if ids != (whole := self._read(text)):
                log.warning(
                    "this tokenizer reads pieces of a chat unlike the whole; every turn reads the whole"
                )
                self._pieces = None
                return whole
        return ids

    def encode_whole(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the chat up to where the model speaks, by the model's own template."""
        return self._read(self._written(messages))

    def stop_ids(self, stop: tuple[str, ...]) -> list[int] | None:
        """The tokens that hold a stop of one ASCII character: such a stop never lies across two tokens. None: a stop is longer.

        vLLM then need not turn tokens into text at every step, and only our own reading of the tokenizer counts.
        """
        if stop not in self._known_stops:
            simple = all(len(text) == 1 and text.isascii() for text in stop)
            pieces = (
                [self._tokenizer.decode([index]) for index in range(len(self._tokenizer))] if simple else []
            )
            holding = [index for index, piece in enumerate(pieces) if any(text in piece for text in stop)]
            self._known_stops[stop] = holding if simple else None
        return self._known_stops[stop]

    def decode(self, token_ids: Sequence[int], stop: tuple[str, ...]) -> str:
        """Text up to the first stop."""
        text = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text[: min((text.find(mark) for mark in stop if mark in text), default=len(text))]

    def completion(self, prompt_ids: Sequence[int], answer: Answer, stop: tuple[str, ...]) -> Completion:
        """What an engine drew for a prompt, as text."""
        return Completion(
            text=answer.text or self.decode(answer.token_ids, stop),
            prompt_tokens=len(prompt_ids),
            cached_tokens=answer.cached_tokens,
            completion_tokens=len(answer.token_ids),
            finish_reason=answer.finish_reason,
        )

    def _written(self, messages: Sequence[Message]) -> str:
        return self._tokenizer.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            tokenize=False,
            add_generation_prompt=True,
        )

    def _read(self, text: str) -> list[int]:
        # The template writes every special token itself.
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]


class Pieces:
    """Reads a text as the pieces that begin at its special tokens, and remembers each.

    Fast tokenizers cut a text at these tokens before anything else and read what lies between by itself, so the pieces' ids
    make up the text's; `pieces_of` knows the exceptions.
    """

    def __init__(self, tokenizer: Any, marks: Sequence[str]) -> None:
        # Where one mark begins with another the tokenizer takes the longer.
        self._mark = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))))
        self._read = lru_cache(maxsize=8192)(
            lambda piece: tuple(tokenizer(piece, add_special_tokens=False)["input_ids"])
        )

    def encode(self, text: str) -> list[int]:
        cuts = [0, *(found.start() for found in self._mark.finditer(text)), len(text)]
        ids: list[int] = []
        for start, end in pairwise(cuts):
            if start < end:
                ids += self._read(text[start:end])
        return ids


def pieces_of(tokenizer: Any) -> Pieces | None:
    """None where a text's pieces may read unlike the text: slow tokenizers, and marks that take in what stands beside them."""
    if not getattr(tokenizer, "is_fast", False) or getattr(tokenizer, "split_special_tokens", False):
        return None
    marks = [token for token in tokenizer.added_tokens_decoder.values() if not token.normalized]
    if not marks or any(token.lstrip or token.rstrip or token.single_word for token in marks):
        return None
    return Pieces(tokenizer, [token.content for token in marks])
