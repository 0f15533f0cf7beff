"""Where an episode's texts stand in the prompt: as turns of a chat, or in one message. Append-only; knows no grammar.

A hint's `turn` says before which reply it first stood there: 0 puts it where the placement says, t > 0 behind the answer to the reply before,
and None nowhere. Without hints the same calls write the student's prompts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actors.chat import Message
from actors.config import HintPlacement
from actors.trajectory import GivenHint, Turn

MARK = ">"
"""Stands before every reply in running text, and at the end of a prompt in one message: the reply itself need not begin with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the prompt is made of."""

    instruction: str
    examples: str
    """"" for none."""
    opening: str
    turns: Sequence[Turn]
    hints: Sequence[GivenHint]
    header: str
    """Above every block of hints."""
    placement: HintPlacement

    def block(self, turn: int) -> str:
        """The hints that come before the reply of this number; "" where there are none."""
        texts = [hint.text for hint in self.hints if hint.turn == turn]
        return "\n".join([self.header, *(f"- {text}" for text in texts)]) if texts else ""

    @property
    def head(self) -> str:
        return _joined(self.instruction, self._placed("system"))

    @property
    def task(self) -> str:
        """The rest up to the first reply."""
        return _joined(
            self._placed("before_examples"),
            self.examples,
            self._placed("after_examples"),
            self.opening,
            self._placed("user"),
        )

    def answer(self, number: int) -> str:
        """What the model reads after its reply of this number."""
        return _joined(self.turns[number].observation, self.block(number + 1))

    def _placed(self, placement: HintPlacement) -> str:
        return self.block(0) if placement == self.placement else ""


def as_chat(script: Script) -> tuple[Message, ...]:
    """The instruction as system message, the opening as the user's first, then a message for every reply and every answer."""
    messages = [
        Message(role="system", content=script.head),
        Message(role="user", content=script.task),
    ]
    for number, turn in enumerate(script.turns):
        messages.append(Message(role="assistant", content=turn.reply))
        messages.append(Message(role="user", content=script.answer(number)))
    return tuple(messages)


def as_transcript(script: Script) -> tuple[Message, ...]:
    """All in one message of the user, which grows at its end. It ends with the mark, so that a reply begins with its first word."""
    told = running_text((turn.reply, script.answer(n)) for n, turn in enumerate(script.turns))
    return (Message(role="user", content=f"{script.head}\n\n{script.task}\n\n{told}{MARK}"),)


def running_text(said: Iterable[tuple[str, str]]) -> str:
    """Replies and their answers as paragraphs, each with a line break and an empty line behind it."""
    return "".join(f"{MARK} {reply.lstrip(MARK + ' ')}\n{answer}\n\n" for reply, answer in said)


def _joined(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)
