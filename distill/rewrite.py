"""A leak taken out of an episode: the sentence that says it goes, the action stays. Knows nothing of tokens or prompts."""

import re
from collections.abc import Sequence
from dataclasses import replace

from actors.agents.base import Agent
from actors.trajectory import Trajectory, Turn
from distill.audit import Leak, LeakAuditor
from distill.audit_talk import stem

_LABEL = re.compile(r"\s*>?\s*(?:[A-Za-z][A-Za-z _]{0,19}:\s*)?")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_WORD = re.compile(r"[a-z0-9']+")
_PASSES = 4
"""One sentence gone may show the next leak."""


def rewrite(trajectory: Trajectory, auditor: LeakAuditor, agent: Agent, heard: str = "") -> Trajectory | None:
    """The episode without the sentences that leak; None where one cannot go: it is the action, or the world said it.

    A thought of which nothing is left goes as a turn, since the world did not move in it.
    """
    for _ in range(_PASSES):
        leaks = auditor.spoken([turn.reply for turn in trajectory.turns], heard, trajectory.task.goal)
        if not leaks:
            return trajectory
        shorter = _without(trajectory, leaks, auditor, agent)
        if shorter is None or not shorter.turns:
            return None
        trajectory = shorter
    return None


def _without(
    trajectory: Trajectory, leaks: Sequence[Leak], auditor: LeakAuditor, agent: Agent
) -> Trajectory | None:
    cleaned: dict[int, Turn | None] = {}
    for leak in leaks:
        for number in {leak.turn, leak.begun} - {None} - set(cleaned):
            assert number is not None
            turn = trajectory.turns[number - 1]
            reply = _shorter(turn.reply, leak, auditor)
            if not reply and turn.action is not None:
                return None
            cleaned[number] = _as_said(turn, reply, agent) if reply else None
            if reply and cleaned[number] is None:
                return None
    turns = (cleaned.get(number, turn) for number, turn in enumerate(trajectory.turns, start=1))
    return replace(trajectory, turns=tuple(turn for turn in turns if turn is not None))


def _as_said(turn: Turn, reply: str, agent: Agent) -> Turn | None:
    """The turn with another reply; None where it would be read as another action."""
    parsed = agent.parse(reply)
    if parsed.action != turn.action:
        return None
    return replace(turn, reply=parsed.reply, fields=parsed.fields)


def _shorter(reply: str, leak: Leak, auditor: LeakAuditor) -> str:
    """The reply without the fewest neighbouring sentences without which this hint is not found; "" where nothing is left."""
    sentences = _sentences(reply)
    if leak.check == "split":
        worst = max(range(len(sentences)), key=lambda n: _likeness(sentences[n][1], leak.hint))
        return _joined(sentences, worst, worst + 1)
    for length in range(1, len(sentences) + 1):
        for start in range(len(sentences) - length + 1):
            rest = _joined(sentences, start, start + length)
            if not rest or all(other.hint != leak.hint for other in auditor.spoken([rest])):
                return rest
    return ""


def _likeness(sentence: str, hint: str) -> int:
    said, meant = ({stem(word) for word in _WORD.findall(text.lower())} for text in (sentence, hint))
    return len(said & meant)


def _sentences(reply: str) -> list[tuple[str, str]]:
    """(the label of its line, sentence) in order."""
    found = []
    for line in reply.splitlines():
        label = _LABEL.match(line)
        assert label is not None
        found += [(label[0], s) for s in _SENTENCE_END.split(line[label.end() :]) if s.strip()]
    return found or [("", reply)]


def _joined(sentences: Sequence[tuple[str, str]], start: int, stop: int) -> str:
    """What is left between start and stop, each label once; a label of nothing goes as well."""
    lines: list[list[str]] = []
    last = None
    for label, sentence in [*sentences[:start], *sentences[stop:]]:
        if label != last or not label:
            lines.append([label + sentence])
        else:
            lines[-1].append(sentence)
        last = label
    return "\n".join(" ".join(line) for line in lines).strip()
