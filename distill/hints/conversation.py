"""What a model is asked about a failure, and when enough is said. Pure: replies come from a look-up, whoever bought them."""

import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actors.chat import Message
from actors.trajectory import EndReason, Trajectory
from distill.hints.call_cache import Call, call_key, prompt_sha256
from distill.hints.config import ModelWriterConfig, OpenAIWriterConfig
from distill.hints.lint import MAX_CHARS
from distill.hints.reply import Reading, read_reply

PROMPTS = Path(__file__).parent / "prompts"

_ENDS = {
    EndReason.DONE: "the world ended it",
    EndReason.STEP_LIMIT: "the number of steps was used up",
    EndReason.TOKEN_LIMIT: "it became too long",
    EndReason.TIME_LIMIT: "its time was used up",
    EndReason.REPETITION: "it repeated itself",
    EndReason.REFUSALS: "the world refused too many replies in a row",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be asked next about one failure."""

    key: str
    """Questions with the same key have the same reply."""
    messages: tuple[Message, ...]
    trajectory: str
    reask: int

    @property
    def prompt_sha256(self) -> str:
        return prompt_sha256(self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What asking about one failure came to."""

    reading: Reading
    prompt_sha256: str
    """Of the first question."""
    calls: tuple[Call, ...]  # [num_questions]
    num_malformed: int
    """Replies from which nothing could be read."""

    @property
    def prompt_tokens(self) -> int:
        return sum(call.prompt_tokens for call in self.calls)

    @property
    def completion_tokens(self) -> int:
        return sum(call.completion_tokens for call in self.calls)

    @property
    def usd(self) -> float:
        return sum(call.usd for call in self.calls)


class Conversation:
    def __init__(self, config: ModelWriterConfig, model: str):
        self.config, self.model = config, model
        self._system = _prompt(f"{config.prompt}.system").template.strip()
        self._user = _prompt(config.prompt)
        self._repair = _prompt("repair")
        has_schema = isinstance(config, OpenAIWriterConfig) and config.json_schema
        self._settings = (model, config.temperature, config.max_tokens, has_schema)

    def after(self, failure: Trajectory, reply_of: Callable[[str], Call | None]) -> Question | Answer:
        """The first question without a reply, or what all replies came to."""
        messages = self._first(failure)
        first, calls, malformed = prompt_sha256(messages), [], 0
        reading = Reading()
        for reask in range(1 + self.config.reasks):
            key = call_key(messages, *self._settings)
            call = reply_of(key)
            if call is None:
                return Question(key=key, messages=messages, trajectory=failure.id, reask=reask)
            calls.append(call)
            reading = read_reply(call.text, self.config.max_hints)
            if reading.problem is None:
                break
            malformed += 1
            messages = (*messages, *self._again(call.text, reading.problem))
        return Answer(reading=reading, prompt_sha256=first, calls=tuple(calls), num_malformed=malformed)

    def _again(self, reply: str, problem: str) -> tuple[Message, Message]:
        request = self._repair.substitute(problem=problem)
        return Message(role="assistant", content=reply), Message(role="user", content=request)

    def _first(self, failure: Trajectory) -> tuple[Message, ...]:
        user = self._user.substitute(
            kind=failure.task.kind,
            goal=failure.task.goal,
            trace=trace_text(failure, self.config.max_trace_chars),
            end=_ENDS.get(failure.end, str(failure.end)),
            max_hints=self.config.max_hints,
            max_chars=MAX_CHARS,
        )
        return (Message(role="system", content=self._system), Message(role="user", content=user))


def trace_text(failure: Trajectory, max_chars: int) -> str:
    """The episode for a reader; a long one loses its middle, since the mistake shows at the start and the end."""
    lines = [failure.opening]
    for turn in failure.turns:
        lines += [f"> {turn.reply}", turn.observation]
    text = "\n".join(lines)
    if len(text) <= max_chars:
        return text
    head = text[: max_chars * 2 // 5].rsplit("\n", 1)[0]
    tail = text[-(max_chars * 3 // 5) :].split("\n", 1)[-1]
    return f"{head}\n[... {len(text) - len(head) - len(tail)} characters left out ...]\n{tail}"


def _prompt(name: str) -> string.Template:
    path = PROMPTS / f"{name}.txt"
    if not path.is_file():
        known = ", ".join(
            sorted(p.stem for p in PROMPTS.glob("*.txt") if "." not in p.stem and p.stem != "repair")
        )
        raise ValueError(
            f"no hint prompt is called {name!r}; known: {known}; add {path.name} and its .system.txt beside them"
        )
    return string.Template(path.read_text(encoding="utf-8"))
