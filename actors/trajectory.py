"""Records of what happened in an episode, and their storage schema. Hints travel in a column of their own, never only in prompt text."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from envs.task import Task

SCHEMA_VERSION = "3"


class EndReason(StrEnum):
    DONE = "done"
    STEP_LIMIT = "step_limit"
    TOKEN_LIMIT = "token_limit"
    TIME_LIMIT = "time_limit"
    REPETITION = "repetition"
    REFUSALS = "refusals"
    """Too many invalid replies in a row, where the budget sets a limit."""
    ERROR = "error"
    """The machinery failed, not the agent: counted apart, never mined for hints, never trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenHint:
    """A hint that an episode may be given, and when it was."""

    id: str
    text: str
    turn: int | None = 0
    """The turn before whose reply it first stood in the prompt, 0 for the start; None: held ready, and never shown."""


def attempt_id(
    *,
    task: Task,
    arm: str,
    agent: str,
    model: str,
    adapter: str | None,
    seed: int,
    hints: tuple[GivenHint, ...],
) -> str:
    """Names an attempt by what it is asked to be, so that a retry elsewhere has the same id."""
    identity = [task.key, arm, agent, model, adapter, seed, [hint.id for hint in hints]]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One model call and what came back. A thought is a turn; a step is a turn whose action reached the world."""

    reply: str
    """The model's text as it stands in the following prompts."""
    fields: tuple[tuple[str, str], ...] = ()
    """What the agent's grammar read in the reply, such as (("thought", "..."),)."""
    action: str | None
    """The action sent to the world; None for a thought or a reply that could not be parsed."""
    executed: str | None = None
    """The action as the world executed it, when the dialect rewrote it."""
    observation: str
    """What the agent reads next."""
    valid: bool = True
    """False where the world refused the action or the reply could not be parsed."""
    reward: float = 0.0
    """Change of score in this turn."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Wall time of the model call and the step; not part of what a replay reproduces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    task: Task
    role: str
    """"base", "teacher" or "student"."""
    arm: str
    """The column of the study that this episode belongs to, such as "teacher_random"."""
    agent: str
    model: str
    adapter: str | None
    seed: int
    hints: tuple[GivenHint, ...]
    opening: str
    turns: tuple[Turn, ...]  # [num_turns]
    end: EndReason
    success: bool
    score: float
    parts: tuple[tuple[str, float], ...] = ()
    """What the score is made of, by name, where the world tells it."""
    error: str | None = None
    retries: int = 0
    """Attempts lost to crashes of the machinery before this one."""

    @property
    def id(self) -> str:
        return attempt_id(
            task=self.task,
            arm=self.arm,
            agent=self.agent,
            model=self.model,
            adapter=self.adapter,
            seed=self.seed,
            hints=self.hints,
        )

    @property
    def shown_hints(self) -> tuple[GivenHint, ...]:
        """Those that stood in its prompt; `hints` has those held ready as well."""
        return tuple(hint for hint in self.hints if hint.turn is not None)

    @property
    def num_steps(self) -> int:
        return sum(turn.action is not None for turn in self.turns)

    @property
    def prompt_tokens(self) -> int:
        return sum(turn.prompt_tokens for turn in self.turns)

    @property
    def cached_tokens(self) -> int:
        return sum(turn.cached_tokens for turn in self.turns)

    @property
    def completion_tokens(self) -> int:
        return sum(turn.completion_tokens for turn in self.turns)

    @property
    def num_invalid(self) -> int:
        return sum(not turn.valid for turn in self.turns)


_TASK = pa.struct([(name, pa.string()) for name in ("env", "split", "id", "kind", "goal")])
_HINT = pa.struct([("id", pa.string()), ("text", pa.string()), ("turn", pa.int32())])
_FIELD = pa.struct([("name", pa.string()), ("text", pa.string())])
_PART = pa.struct([("name", pa.string()), ("value", pa.float64())])
_TURN = pa.struct(
    [
        ("reply", pa.string()),
        ("fields", pa.list_(_FIELD)),
        ("action", pa.string()),
        ("executed", pa.string()),
        ("observation", pa.string()),
        ("valid", pa.bool_()),
        ("reward", pa.float64()),
        ("prompt_tokens", pa.int32()),
        ("cached_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("seconds", pa.float64()),
    ]
)
TRAJECTORY_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", _TASK),
        ("role", pa.string()),
        ("arm", pa.string()),
        ("agent", pa.string()),
        ("model", pa.string()),
        ("adapter", pa.string()),
        ("seed", pa.int64()),
        ("hints", pa.list_(_HINT)),
        ("opening", pa.string()),
        ("turns", pa.list_(_TURN)),
        ("end", pa.string()),
        ("success", pa.bool_()),
        ("score", pa.float64()),
        ("parts", pa.list_(_PART)),
        ("error", pa.string()),
        ("retries", pa.int32()),
    ],
    metadata={"offbook_record": "trajectory", "offbook_schema_version": SCHEMA_VERSION},
)

_TURN_NAMES = [field.name for field in _TURN if field.name != "fields"]
_PLAIN_NAMES = (
    "role",
    "arm",
    "agent",
    "model",
    "adapter",
    "seed",
    "opening",
    "success",
    "score",
    "error",
    "retries",
)


def to_row(trajectory: Trajectory) -> dict:
    """A dict of `TRAJECTORY_SCHEMA`."""
    return {
        "id": trajectory.id,
        "task": {name: getattr(trajectory.task, name) for name in ("env", "split", "id", "kind", "goal")},
        "hints": [{"id": hint.id, "text": hint.text, "turn": hint.turn} for hint in trajectory.hints],
        "turns": [
            {name: getattr(turn, name) for name in _TURN_NAMES}
            | {"fields": [{"name": n, "text": t} for n, t in turn.fields]}
            for turn in trajectory.turns
        ],
        "parts": [{"name": name, "value": value} for name, value in trajectory.parts],
        "end": str(trajectory.end),
    } | {name: getattr(trajectory, name) for name in _PLAIN_NAMES}


def from_row(row: dict) -> Trajectory:
    """The record of a dict made by `to_row` or read from Parquet."""
    turns = tuple(
        Turn(
            **{name: turn[name] for name in _TURN_NAMES},
            fields=tuple((f["name"], f["text"]) for f in turn["fields"]),
        )
        for turn in row["turns"]
    )
    return Trajectory(
        task=Task(**row["task"]),
        hints=tuple(GivenHint(**hint) for hint in row["hints"]),
        turns=turns,
        parts=tuple((part["name"], part["value"]) for part in row["parts"]),
        end=EndReason(row["end"]),
        **{name: row[name] for name in _PLAIN_NAMES},
    )
