"""What is doubtful about a bank: hints that break the writers' rules, repeat one another, or come from where they must not."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from distill.hints.bank import Bank, comparable
from distill.hints.comparison import near_pairs
from distill.hints.config import BankConfig
from distill.hints.hint import Hint
from distill.hints.lint import RULES as LINT_RULES
from distill.hints.lint import broken_rules
from envs.panel import Panel

RULES = (*LINT_RULES, "near-duplicate", "several-kinds", "evaluation-task", "unknown-task")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    rule: str
    """One of `RULES`."""
    hint: Hint
    problem: str


def audit_bank(
    bank: Bank,
    *,
    similarity: float = BankConfig().similarity,
    panel: Panel | None = None,
    at_hand: Mapping[str, str] = MappingProxyType({}),
    ignore: Sequence[str] = (),
) -> list[Finding]:
    """Every finding, in the order of `RULES`; those about evaluation tasks only where a panel is given; `at_hand` are task keys by episode.

    Raises:
        ValueError: `ignore` names no rule.
    """
    if unknown := [rule for rule in ignore if rule not in RULES]:
        raise ValueError(f"there is no audit rule {unknown[0]!r}; the rules are {', '.join(RULES)}")
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _lint(bank),
        lambda: _near_duplicates(bank, similarity),
        lambda: _several_kinds(bank),
    ]
    if panel is not None:
        checks.append(lambda: _evaluation_tasks(bank, panel, at_hand))
    found = [finding for check in checks for finding in check() if finding.rule not in ignore]
    return sorted(found, key=lambda finding: RULES.index(finding.rule))


def _lint(bank: Bank) -> Iterator[Finding]:
    for hint in bank.hints:
        for rule, problem in broken_rules(hint.text):
            yield Finding(rule=rule, hint=hint, problem=problem)


def _near_duplicates(bank: Bank, similarity: float) -> Iterator[Finding]:
    for first, second in near_pairs(bank.hints, similarity):
        yield Finding(
            rule="near-duplicate", hint=second, problem=f"says the same as {first.id} {first.text!r}"
        )


def _several_kinds(bank: Bank) -> Iterator[Finding]:
    """Advice for every kind may be meant so; advice of one kind that was filed under another looks the same."""
    groups: dict[tuple[str, str], list[Hint]] = defaultdict(list)
    for hint in bank.hints:
        groups[hint.env, comparable(hint.text)].append(hint)
    for group in groups.values():
        kinds = sorted({hint.kind for hint in group})
        if len(kinds) > 1:
            yield Finding(
                rule="several-kinds",
                hint=group[0],
                problem=f"stands under {len(kinds)} kinds: {', '.join(kinds)}",
            )


def _evaluation_tasks(bank: Bank, panel: Panel, at_hand: Mapping[str, str]) -> Iterator[Finding]:
    for hint, source, task in bank.evaluation_sources(panel, at_hand):
        if task is None:
            problem = f"the task of its episode {source} is not known; name the rollouts it was mined from"
            yield Finding(rule="unknown-task", hint=hint, problem=problem)
        else:
            problem = f"was mined from {task}, a task of the panel {panel.name}"
            yield Finding(rule="evaluation-task", hint=hint, problem=problem)
