"""What writing hints took, and what is raised when not every failure could be asked about."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from distill.atomic import write_atomically
from distill.hints.conversation import Answer
from distill.hints.spending import PICO, Spending

log = logging.getLogger(__name__)


class WriterError(RuntimeError):
    """No hints could be written, or not all; the message says what is kept and what to do."""


class BudgetReachedError(WriterError):
    """`max_cost_usd` does not reach for the next call; what was bought is kept, and a start with more money goes on."""


@dataclass(slots=True, kw_only=True)
class WriterSummary:
    """`writer.json`."""

    writer: str
    num_failures: int = 0
    num_hints: int = 0
    num_without_hints: int = 0
    """Failures that gave no hint."""
    num_malformed: int = 0
    """Replies from which nothing could be read, re-asks included."""
    num_calls: int = 0
    num_cached_calls: int = 0
    """Replies that were there before this start."""
    num_requests: int = 0
    """Requests that left, earlier starts, retries and refused ones included."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    """Of the replies that these failures were answered with, each counted once."""
    usd_spent: float = 0.0
    """Of every reply kept in the folder, such as those to a wording of the prompt that was given up."""
    usd_held: float = 0.0
    """At most, of `num_held` requests that may have been billed although their answers never came."""
    num_held: int = 0
    rejected: list[dict[str, str]] = field(default_factory=list)
    """Hints that lint refused, with the reason."""
    errors: list[dict[str, str]] = field(default_factory=list)
    """Failures whose call failed, with the reason."""
    stopped: str | None = None
    """Why not every failure was asked about."""
    budget_reached: bool = False
    """Whether that is `max_cost_usd`."""
    num_unpaid: int = 0
    """Failures that the money did not reach for."""
    num_to_ask_again: int = 0
    """Of `errors`, those that another start may well get an answer to."""

    def count(self, answers: Sequence[Answer], kept_before: Mapping[str, object], spending: Spending) -> None:
        calls = {call.key: call for answer in answers for call in answer.calls}
        self.num_malformed = sum(answer.num_malformed for answer in answers)
        self.num_cached_calls = sum(key in kept_before for key in calls)
        self.num_calls = len(calls) - self.num_cached_calls
        self.prompt_tokens = sum(call.prompt_tokens for call in calls.values())
        self.completion_tokens = sum(call.completion_tokens for call in calls.values())
        self.usd = sum(call.usd for call in calls.values())
        self.usd_spent, self.usd_held = spending.known / PICO, spending.held / PICO
        self.num_requests, self.num_held = spending.num_sent, spending.num_held

    def save(self, path: Path) -> None:
        write_atomically(path, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def raise_on_errors(summary: WriterSummary, calls: Path, on_budget: str) -> None:
    kept = f"{summary.num_calls + summary.num_cached_calls} replies are kept in {calls}"
    if summary.budget_reached and on_budget == "stop":
        raise BudgetReachedError(
            f"{summary.writer}: {summary.stopped}: {_spent(summary)} and {summary.num_unpaid} of {summary.num_failures} "
            f"failures are still to be asked about; {kept}; raise writer.max_cost_usd and start again to go on from there, "
            'or set writer.on_budget = "go_on" to use the hints written so far'
        )
    if summary.budget_reached:
        log.warning("hints: going on with what is written: %s", summary.stopped)
    if not summary.errors:
        return
    first = summary.errors[0]["error"]
    if summary.num_to_ask_again or len(summary.errors) == summary.num_failures:
        raise WriterError(
            f"{summary.writer}: {len(summary.errors)} of {summary.num_failures} failures got no answer, first: {first}; "
            f"{kept}, start again to go on from there"
        )
    log.warning(
        "hints: %d of %d failures could not be asked about, first: %s",
        len(summary.errors),
        summary.num_failures,
        first,
    )


def _spent(summary: WriterSummary) -> str:
    text = f"{summary.usd_spent:.4f} USD are spent"
    if summary.num_held:
        text += f", up to {summary.usd_held:.4f} USD more on {summary.num_held} requests whose answers never came,"
    return text
