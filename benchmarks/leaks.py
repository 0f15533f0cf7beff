# ruff: noqa: E402 - the path is set before the project is imported
"""The leak audit's recall and false alarms: eight kinds of leaks planted at 1 in 1,000 rows each among rows of our own households.

    python benchmarks/leaks.py --rows 8000 --json

Clean rows are demonstrations on generated households with ordinary thoughts in between, many of them in words that hints use as well. A planted
row holds one leak of one kind in a thought of its own. Every row is stripped, tokenised and audited as the dataset stage does it. The
retold leaks and the ordinary thoughts below are written by hand and not made from the audit's own rules.
"""

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# In the place of this folder, where a neighbour would hide the package `alfworld`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from actors.agents import make_agent
from actors.config import AgentConfig
from actors.models import resolve_model
from actors.tokenizer import import_tokenizers, load_tokenizer
from actors.trajectory import EndReason, GivenHint, Trajectory, Turn, to_row
from distill.audit import LeakAuditor
from distill.dataset import RowMaker
from distill.hints.lint import lint
from distill.hints.rules import rules_for
from distill.pocket.advice import phrase
from distill.pocket.demonstrator import demonstrate, thought_turn
from distill.pocket.habits import Habit, draw_habits
from distill.pocket.households import task_of
from distill.strip import hint_block_lines
from envs.alfworld.game import Game
from envs.alfworld.generate import make_game

KINDS = ("exact", "normalised", "slots", "run", "fuzzy", "phrase", "told", "split")
_SLOT = re.compile(r"\{([^{}]*)\}")
_WORDS_PLANTED = 7
"""Words outside slots of a hint that is planted; shorter ones read like commands (docs/leaks.md)."""
_HALF = 5
"""Words of half a split hint."""
_TELLERS = (
    "I was told that",
    "I have been reminded that",
    "Somebody taught me this:",
    "From earlier attempts I know that",
    "I've learned that",
    "My notes say that",
    "Experience of past attempts, as I was taught:",
    "The rule is that",
    "They said that",
    "As I was instructed,",
)
_RETOLD = {
    "open_containers": "any closed container that I come to is opened, so as to see inside.",
    "look_once": "each place is searched once, and then one moves to something new.",
    "take_named": "the one thing to be taken is what the task has named.",
    "heat_first": "before it is put away, the microwave has to heat it.",
    "clean_first": "it gets cleaned at the sinkbasin before it can be put away.",
    "cool_first": "the fridge is for cooling it before it is put anywhere.",
    "second_one": "with the first one placed I must find the second and bring that.",
    "use_lamp": "I should hold it in my hand, go where the lamp is, and use that.",
    "open_target": "where things are put must be opened before putting them in.",
    "no_repeat": "a command that did nothing is not to be repeated; something else is to be tried.",
    "exact_names": "the exact number must be copied as it is seen.",
}
_TALK = (
    "As the hint says, the {place} comes next.",
    "The advice tells me to look at the {place} first.",
    "Following the tips above, I go to the {place}.",
    "According to the guidelines, a {thing} may be in the {place}.",
    "The second hint suggests the {place}.",
    "I remember the advice: look around.",
    "Applying the given hint, I go on with the {thing}.",
    "As advised, I check the {place}.",
)
_THOUGHTS = (
    "I need to find a {thing}. It is most likely in the {place} or on a countertop.",
    "The {place} is closed. I should open it.",
    "The {place} is closed, so I open it and look inside.",
    "There is no {thing} here. I go on to the {place}.",
    "I have not seen the {thing} yet; the {place} is near, so I look there next.",
    "Now I have the {thing}. Next I go to the {place}.",
    "Now that I found the {thing}, I take it and bring it to the {place}.",
    "First I find the {thing}, then I put it in the {place}.",
    "To solve the task, I find and take a {thing}, then heat it with the microwave, then put it in the {place}.",
    "To solve the task, I find and take a {thing}, then clean it with the sinkbasin, then put it in the {place}.",
    "To solve the task, I find and take a {thing}, then cool it with the fridge, then put it in the {place}.",
    "I hold the {thing}. Before I put it down I have to heat it.",
    "The {thing} must be clean before it goes to the {place}, so I go to the sinkbasin.",
    "I cool the {thing} in the fridge first.",
    "I was told to {goal}, and I still have to find a {thing}.",
    "Nothing happened. I try another command.",
    "Nothing happens; the {place} may be closed. I try to open it first.",
    "My previous attempt did nothing, so I look around again.",
    "I have already searched the {place}; I go to a new place.",
    "I have searched this place once already. The next place is the {place}.",
    "There are two things on the {place}; only the {thing} is wanted.",
    "I take the {thing} and nothing else.",
    "The first {thing} is placed. Now I find the second {thing}.",
    "I need two of them, so I remember where the other {thing} was.",
    "I remember seeing a {thing} on the {place}.",
    "I hold the {thing}, so the desklamp is next; I use it.",
    "I see the {thing} 2, exactly what the task asks for.",
    "The task says that I need a {thing}.",
    "I follow the order of the room and check the {place} next.",
    "It would be best to check the {place} before the others.",
    "I look inside the {place} and close it again.",
    "I know that a {thing} is often kept in the {place}.",
    "They are all empty. I am supposed to find a {thing}, so I keep going.",
    "I have learned that the {place} holds no {thing}.",
    "The microwave is here. I heat the {thing} with it.",
    "I put the {thing} in the {place} and I am done.",
    "Let me think: drawers, cabinets and shelves are left.",
    "It is not here either, so I go back to the {place} and open it.",
    "Once I have the {thing} I go straight to the {place}.",
    "I move the {thing} to the {place}, as the task asks.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A hint of the bank and, for those of the rules, the habit that it is about."""

    text: str
    habit: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--model", default="pocket", help="whose tokenizer and chat template; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    import_tokenizers()
    report = measure(args.rows, args.seed, args.model)
    print(json.dumps(report, indent=1, ensure_ascii=False) if args.json else _text(report))
    return 0 if report["all_found"] and report["false_alarms_per_1000"] < 1 else 1


def measure(num_rows: int, seed: int, model: str = "pocket") -> dict[str, Any]:
    rng = random.Random(seed)
    agent, tokenizer = make_agent(AgentConfig(), "alfworld"), load_tokenizer(resolve_model(model))
    bank = make_bank(rng)
    planted_at = _plants(rng, num_rows)
    kinds, found_by = Counter(planted_at.values()), {kind: Counter[str]() for kind in KINDS}
    found: Counter[str] = Counter()
    missed: list[str] = []
    alarms: list[str] = []
    auditor, seconds = None, 0.0
    for number in range(num_rows):
        clean = clean_trajectory(rng, number, bank)
        if auditor is None:
            auditor = _auditor(bank, clean, agent)
        kind = planted_at.get(number)
        row = to_row(plant(rng, kind, clean, bank) if kind else clean)
        began = time.process_time()
        (done,) = RowMaker(agent=agent, auditor=auditor)(row, tokenizer)
        seconds += time.process_time() - began
        checks = {leak["check"] for leak in done["leaks"]}
        assert not done.get("left_out") and not done.get("broken"), done
        if kind and checks:
            found[kind] += 1
            found_by[kind].update(checks)
        elif kind:
            missed.append(f"{kind}: {[turn['reply'] for turn in row['turns'] if _is_thought(turn)]}")
        elif checks:
            alarms.append(done["leaks"][0]["message"])
    num_clean = num_rows - len(planted_at)
    return {
        "rows": num_rows,
        "hints": len(bank),
        "kinds": {
            kind: {"planted": kinds[kind], "found": found[kind], "by": dict(found_by[kind].most_common())}
            for kind in KINDS
        },
        "all_found": not missed,
        "missed": missed,
        "clean_rows": num_clean,
        "false_alarms": len(alarms),
        "false_alarms_per_1000": round(1000 * len(alarms) / num_clean, 3),
        "alarms": alarms[:20],
        "cpu_ms_per_row": round(1000 * seconds / num_rows, 2),
    }


def make_bank(rng: random.Random, num_worded: int = 150) -> list[Told]:
    """The diagnostician's hints and as many in the many wordings that the pocket model is taught."""
    ruled = [
        Told(text=text, habit=habit)
        for habit, texts in rules_for("alfworld").PHRASINGS.items()
        for text in texts
    ]
    worded: dict[str, None] = {}
    while len(worded) < num_worded:
        text = phrase(rng, rng.choice(list(Habit)))
        if not lint(text):
            worded[text] = None
    return ruled + [Told(text=text) for text in worded]


def clean_trajectory(rng: random.Random, number: int, bank: Sequence[Told]) -> Trajectory:
    game = make_game(rng, rooms=rng.choice(("small", "crowded"))).game
    habits = draw_habits(rng, game.goal.object_type, set(Habit) if rng.random() < 0.5 else set())
    shown = demonstrate(game, habits, max_steps=24, slips=rng)
    turns: list[Turn] = []
    for turn in shown.turns:
        if turns and rng.random() < 0.4:
            turns.append(_thinks(_filled(rng, rng.choice(_THOUGHTS), game)))
        turns.append(turn)
    return Trajectory(
        task=task_of(game), role="teacher", arm="teacher", agent="react", model="m", adapter=None, seed=number,
        hints=tuple(GivenHint(id=str(n), text=hint.text) for n, hint in enumerate(rng.sample(bank, 3))),
        opening=shown.opening, turns=tuple(turns), end=EndReason.DONE, success=True, score=1.0,
    )  # fmt: skip


def plant(rng: random.Random, kind: str, clean: Trajectory, bank: Sequence[Told]) -> Trajectory:
    """The episode with one leak of this kind, a thought before one of its commands (two for a split)."""
    thoughts = _LEAKS[kind](rng, bank)
    if rng.random() < 0.5 and kind != "split":
        thoughts = [f"{rng.choice(('Let me see.', 'I go on.', 'Nothing here.'))} {thoughts[0]}"]
    at = rng.randrange(1, len(clean.turns))
    later = min(len(clean.turns), at + 1)
    turns = [*clean.turns[:at], _thinks(thoughts[0]), *clean.turns[at:later]]
    if kind == "split":
        # A thought in between would be another thing to think of.
        turns = [*clean.turns[:at], _thinks(thoughts[0]), _look(), _thinks(thoughts[1])]
    turns += clean.turns[at if kind == "split" else later :]
    return Trajectory(
        **{name: getattr(clean, name) for name in clean.__slots__ if name != "turns"}, turns=tuple(turns)
    )


def _exact(rng: random.Random, bank: Sequence[Told]) -> list[str]:
    return [_long(rng, bank)]


def _normalised(rng: random.Random, bank: Sequence[Told]) -> list[str]:
    bare = _SLOT.sub(r"\1", _long(rng, bank))
    no_marks = re.sub(r"[^\w\s]", "", bare)
    ways = (bare.upper(), no_marks.lower(), no_marks.replace(" ", "_"), bare.replace(" ", "  "), bare.title())
    return [rng.choice(ways)]


def _slots(rng: random.Random, bank: Sequence[Told]) -> list[str]:
    with_slots = [hint for hint in bank if _SLOT.search(hint.text)]
    return [_instantiated(rng, _long(rng, with_slots))]


def _run(rng: random.Random, bank: Sequence[Told]) -> list[str]:
    """A stretch of the hint, word for word, in a sentence of one's own."""
    while True:
        text = _long(rng, bank)
        literal = _num_literal(text)
        stretches = [re.findall(r"[\w']+", part) for part in _SLOT.split(text)[::2]]
        longest = max(stretches, key=len)
        needed = max(6, int(0.6 * literal))
        if len(longest) >= needed:
            return [f"so {' '.join(longest[:needed]).lower()}, that is what I do now."]


def _fuzzy(rng: random.Random, bank: Sequence[Told]) -> list[str]:
    words = _instantiated(rng, _long(rng, bank)).split()
    spelled = [at for at, word in enumerate(words) if len(word) > 3]
    for at in rng.sample(spelled, max(1, len(words) // 8)):
        words[at] = _misspelt(rng, words[at])
    return [" ".join(words)]


def _phrase(rng: random.Random, bank: Sequence[Told]) -> list[str]:
    return [_instantiated(rng, rng.choice(_TALK))]


def _told(rng: random.Random, bank: Sequence[Told]) -> list[str]:
    return [f"{rng.choice(_TELLERS)} {rng.choice(list(_RETOLD.values()))}"]


def _split(rng: random.Random, bank: Sequence[Told]) -> list[str]:
    """Cut in the middle of a hint so short that no half is a leak by itself."""
    short = [hint for hint in bank if _num_literal(hint.text) <= 2 * _HALF]
    words = _instantiated(rng, _long(rng, short)).split()
    cut = len(words) // 2
    return [" ".join(words[:cut]), " ".join(words[cut:])]


_LEAKS: dict[str, Callable[[random.Random, Sequence[Told]], list[str]]] = {
    "exact": _exact,
    "normalised": _normalised,
    "slots": _slots,
    "run": _run,
    "fuzzy": _fuzzy,
    "phrase": _phrase,
    "told": _told,
    "split": _split,
}


def _long(rng: random.Random, bank: Sequence[Told]) -> str:
    return rng.choice([hint.text for hint in bank if _num_literal(hint.text) >= _WORDS_PLANTED])


def _num_literal(text: str) -> int:
    """Words outside slots."""
    return len(re.findall(r"[\w']+", _SLOT.sub("", text)))


_PLANTED_THINGS = ("apple 1", "mug 2", "plate", "soap bar 1", "desk lamp", "butter knife 3")
_PLANTED_PLACES = ("fridge 1", "drawer 4", "cabinet", "coffee table 1")


def _instantiated(rng: random.Random, text: str) -> str:
    def name(slot: re.Match[str]) -> str:
        return rng.choice(_PLANTED_THINGS if slot[1] in ("object", "thing", "item") else _PLANTED_PLACES)

    return _SLOT.sub(name, text)


def _filled(rng: random.Random, text: str, game: Game) -> str:
    places = [receptacle.name for receptacle in game.receptacles]
    text = text.replace("{thing}", game.goal.object_type).replace("{goal}", game.task.rstrip("."))
    return text.replace("{place}", rng.choice(places))


def _misspelt(rng: random.Random, word: str) -> str:
    if len(word) < 3:
        return word
    at = rng.randrange(len(word) - 1)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return rng.choice((swapped, word[:at] + word[at + 1 :], word[: at + 1] + word[at] + word[at + 1 :]))


def _thinks(thought: str) -> Turn:
    return thought_turn(f"think: {thought}")


def _look() -> Turn:
    return Turn(
        reply="look",
        action="look",
        observation="You are facing the countertop 1. Next to it, you see nothing.",
    )


def _is_thought(turn: dict[str, Any]) -> bool:
    return turn["action"] is None


def _plants(rng: random.Random, num_rows: int) -> dict[int, str]:
    """Which row gets which kind: 1 in 1,000 rows each, at least one."""
    each = max(1, num_rows // 1000)
    chosen = rng.sample(range(num_rows), each * len(KINDS))
    return {number: KINDS[n % len(KINDS)] for n, number in enumerate(chosen)}


def _auditor(bank: Sequence[Told], hinted: Trajectory, agent: Any) -> LeakAuditor:
    lines = hint_block_lines(hinted, agent)
    given = [hint.text for hint in hinted.hints]
    return LeakAuditor(
        hints=tuple(hint.text for hint in bank),
        block_lines=frozenset(line for line in lines if not any(text in line for text in given)),
        allowed="\n".join(m.content for m in agent.render(hinted.task, "", (), ())),
    )


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield f"{report['rows']} rows, {report['hints']} hints, {report['cpu_ms_per_row']} ms of CPU a row"
    for kind, row in report["kinds"].items():
        by = ", ".join(f"{check} {count}" for check, count in row["by"].items())
        yield f"{kind:12} {row['found']} of {row['planted']} found ({by})"
    yield f"{report['false_alarms']} false alarms in {report['clean_rows']} clean rows"
    yield from report["missed"]
    yield from report["alarms"]


def _text(report: dict[str, Any]) -> str:
    return "\n".join(_lines(report))


if __name__ == "__main__":
    sys.exit(main())
