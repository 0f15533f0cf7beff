"""ReAct: one line a turn, a thought or a command. Knows how to write and read it, and nothing of models or worlds."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.agents.base import Parsed
from actors.chat import Message
from actors.trajectory import GivenHint, Turn
from envs.task import Task

PROMPTS = Path(__file__).parent / "prompts"
THOUGHT_ANSWER = "OK."
NO_REPLY_ANSWER = "Your reply was empty; answer with one line, either `think: ...` or a command."

_PREFIX = re.compile(r"^>?\s*(?:act(?:ion)?\s*:)?\s*", re.IGNORECASE)
_THOUGHT = re.compile(r"think:\s*(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactAgent:
    """The chat's layout: system = prompt and hints, user = opening, then assistant = reply and user = observation for every turn."""

    prompt: str
    hint_header: str
    stop: tuple[str, ...] = ("\n",)

    @property
    def name(self) -> str:
        return "react-" + hashlib.sha256(f"{self.prompt}\0{self.hint_header}".encode()).hexdigest()[:6]

    def render(
        self, task: Task, opening: str, turns: Sequence[Turn], hints: Sequence[GivenHint]
    ) -> tuple[Message, ...]:
        messages = [
            Message(role="system", content=self._system(hints)),
            Message(role="user", content=opening),
        ]
        for turn in turns:
            messages.append(Message(role="assistant", content=turn.reply))
            messages.append(Message(role="user", content=turn.observation))
        return tuple(messages)

    def parse(self, reply: str) -> Parsed:
        line = next((stripped for raw in reply.splitlines() if (stripped := raw.strip())), "")
        content = _PREFIX.sub("", line, count=1)
        if not content:
            return Parsed(reply=line, answer=NO_REPLY_ANSWER)
        if thought := _THOUGHT.match(content):
            return Parsed(reply=line, fields=(("thought", thought[1]),), answer=THOUGHT_ANSWER)
        return Parsed(reply=line, action=content)

    def _system(self, hints: Sequence[GivenHint]) -> str:
        if not hints:
            return self.prompt
        return "\n".join([self.prompt, "", self.hint_header, *(f"- {hint.text}" for hint in hints)])


def load_react(env_name: str, prompt: str) -> ReactAgent:
    """The agent with the shipped prompt text of an environment; `prompt` is "brief" or "full"."""
    path = PROMPTS / "react" / f"{env_name}.{prompt}.txt"
    if not path.is_file():
        known = ", ".join(sorted(p.name.removesuffix(".txt") for p in path.parent.glob("*.txt")))
        raise ValueError(
            f"no ReAct prompt for {env_name}.{prompt}; known: {known}; add {path.name} beside them"
        )
    header = (PROMPTS / "hint_block.txt").read_text(encoding="utf-8").strip()
    return ReactAgent(prompt=path.read_text(encoding="utf-8").strip(), hint_header=header)
