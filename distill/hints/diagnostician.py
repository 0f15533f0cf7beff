"""The offline hint writer: rules name an episode's bad habits, and each habit has its advice. Free, deterministic, and no oracle."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from actors.trajectory import Trajectory
from distill.hints.config import DiagnosticianConfig
from distill.hints.hint import Hint, written_hint
from distill.hints.rules import Rules, rules_for

WRITER = "diagnostician"


def diagnose(failure: Trajectory, config: DiagnosticianConfig = DiagnosticianConfig()) -> list[Hint]:
    """Advice against the habits of one failed episode, the most telling first."""
    rules = rules_for(failure.task.env)
    return [_hint(failure, habit, rules) for habit in _habits(failure, rules, config)]


def diagnose_all(
    failures: Iterable[Trajectory], config: DiagnosticianConfig = DiagnosticianConfig()
) -> list[Hint]:
    """Advice from every failure; slips fill at most `max_slip_share` of a kind's hints."""
    found: list[tuple[str, bool, Hint]] = []
    for failure in failures:
        rules = rules_for(failure.task.env)
        found += [
            (failure.id, habit in rules.SLIPS, _hint(failure, habit, rules))
            for habit in _habits(failure, rules, config)
        ]
    # By id, so that the same failures give the same hints in whatever order they came in.
    found.sort(key=lambda row: row[0])
    causes = [hint for _, is_slip, hint in found if not is_slip]
    slips = [hint for _, is_slip, hint in found if is_slip]
    return causes + _capped(slips, causes, config.max_slip_share)


def _habits(failure: Trajectory, rules: Rules, config: DiagnosticianConfig) -> list[str]:
    return [habit for habit in rules.diagnose(failure) if habit not in config.skip][: config.max_hints]


def _hint(failure: Trajectory, habit: str, rules: Rules) -> Hint:
    phrasings = rules.PHRASINGS[habit]
    # Of the trajectory's id, not of a counter: the same failure is always answered in the same words.
    digest = hashlib.sha256(f"{failure.id}|{habit}".encode()).digest()
    text = phrasings[int.from_bytes(digest[:4], "big") % len(phrasings)]
    return written_hint(text, failure, WRITER)


def _capped(slips: Sequence[Hint], causes: Sequence[Hint], share: float) -> list[Hint]:
    """As many slips of each kind as keep their share; at least one, so that a bank of slips alone is not empty."""
    num_causes = Counter((hint.env, hint.kind) for hint in causes)
    room = {
        key: max(1, int(share / (1 - share) * num_causes[key])) for key in {(h.env, h.kind) for h in slips}
    }
    kept = []
    for hint in slips:
        key = (hint.env, hint.kind)
        if room[key] > 0:
            room[key] -= 1
            kept.append(hint)
    return kept
