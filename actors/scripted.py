"""The test model: plays the scripted world from what the messages say, with seeded mistakes at the world's traps.

A trap is a closed chest, a thing that must be washed, a second thing that is wanted. At each the model does the right thing
with probability `skill`, and always when a hint names the trap. It reads the chat only, never the world.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from actors.chat import Completion, Message, Sampling
from actors.config import ScriptedModelConfig

_HINT_WORDS = {
    "open": r"\bopen\b|\bchest",
    "wash": r"\bwash|\bclean",
    "pair": r"\btwo\b|\bboth\b|\bsecond\b|\bpair",
}
_GOAL = re.compile(
    r"bring (?P<amount>the|two|a clean) (?P<thing>\w+?)(?P<plural>s?) to the hall", re.IGNORECASE
)


@dataclass(slots=True)
class _Memory:
    """What a reader of the chat knows of the world."""

    wanted: str
    amount: str
    rooms: tuple[str, ...]
    room: str = "hall"
    held: str | None = None
    washed: bool = False
    chest_closed: bool = False
    visible: tuple[str, ...] = ()
    brought: int = 0
    visits: Counter[str] = field(default_factory=Counter)


class ScriptedModel:
    """A `Generate` whose reply depends on the messages, the hints in them and `sampling.seed` only."""

    def __init__(self, config: ScriptedModelConfig) -> None:
        self._config = config

    async def __call__(self, messages: Sequence[Message], sampling: Sampling, *, session: str) -> Completion:
        if self._config.latency_s:
            await asyncio.sleep(self._config.latency_s)
        reply = self._reply(messages, random.Random(sampling.seed))
        prompt_tokens = sum(len(message.content.split()) + 3 for message in messages)
        # What an append-only prompt leaves in a perfect cache: all but the last two messages.
        cached = sum(len(message.content.split()) + 3 for message in messages[:-2])
        return Completion(
            text=reply,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached,
            completion_tokens=len(reply.split()) + 1,
            finish_reason="stop",
        )

    def _reply(self, messages: Sequence[Message], rng: random.Random) -> str:
        heard = "\n".join(message.content for message in messages if message.role != "assistant")
        hints = "\n".join(line for line in heard.splitlines() if line.startswith("- ")).lower()
        opening, turns = _conversation(messages)
        label = "action: " if re.search("^action: <|`label: ...`", messages[0].content, re.MULTILINE) else ""
        memory = _remember(opening)
        if memory is None:
            return f"{label}look"
        for said, answer in turns:
            _notice(memory, said.rpartition("action: ")[2], answer)

        def right(trap: str) -> bool:
            return bool(re.search(_HINT_WORDS[trap], hints)) or rng.random() < self._config.skill

        return label + _decide(memory, right)


def _conversation(messages: Sequence[Message]) -> tuple[str, list[tuple[str, str]]]:
    """The last opening, behind any examples, and what was said and answered since, in a chat or in one message."""
    if len(messages) > 1:
        said = [message.content for message in messages]
        return _last_opening(said[1]), list(zip(said[2::2], said[3::2], strict=False))
    opening, *told = _last_opening(messages[0].content).split("\n\n> ")
    turns = [tuple(re.split(r"\n(?!\w+[\w ]*: )", turn, maxsplit=1)) for turn in told]
    return opening, [(turn[0], turn[-1]) for turn in turns]


def _last_opening(text: str) -> str:
    return text[max(0, text.rfind("You are in the hall. Doors lead to")) :]


def _remember(opening: str) -> _Memory | None:
    goal = _GOAL.search(opening)
    doors = re.search(r"Doors lead to (.*?)\.", opening)
    if goal is None or doors is None:
        return None
    thing = goal["thing"] if goal["amount"].lower() == "two" else goal["thing"] + goal["plural"]
    rooms = tuple(re.split(r", | and ", doors[1]))
    return _Memory(wanted=thing, amount=goal["amount"].lower(), rooms=rooms)


def _notice(memory: _Memory, said: str, answer: str) -> None:
    if "Nothing happens." in answer:
        return
    verb, _, rest = said.partition(" ")
    if verb == "go":
        memory.room = rest.removeprefix("to ")
        memory.visits[memory.room] += 1
    elif verb == "take":
        memory.held, memory.washed = rest, False
        memory.visible = tuple(thing for thing in memory.visible if thing != rest)
    elif verb == "wash":
        memory.washed = True
    elif verb == "drop":
        memory.held = None
        memory.brought += "Well done." in answer
    if "chest" in answer:
        memory.chest_closed = "closed chest" in answer
        listed = re.search(r"open chest you see (.*?)\.", answer)
        memory.visible = tuple(re.findall(r"\ba (\w+)", listed[1])) if listed else ()
    elif verb == "go":
        memory.chest_closed, memory.visible = False, ()


def _decide(memory: _Memory, right: Callable[[str], bool]) -> str:
    if memory.held:
        if memory.amount == "a clean" and not memory.washed and right("wash"):
            return f"wash {memory.held}" if memory.room == "kitchen" else "go to kitchen"
        return f"drop {memory.held}" if memory.room == "hall" else "go to hall"
    if memory.brought and memory.amount == "two" and not right("pair"):
        return "look"
    if memory.wanted in memory.visible:
        return f"take {memory.wanted}"
    if memory.chest_closed and right("open"):
        return "open chest"
    # The least visited room next: a chest passed by is met again.
    elsewhere = [room for room in memory.rooms if room != memory.room]
    return f"go to {min(elsewhere, key=lambda room: memory.visits[room])}"
