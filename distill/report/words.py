"""Figures as words: one way to say a rate, a difference and whether it is real. Knows neither terminal nor page."""

from collections.abc import Mapping, Sequence
from typing import Any

ABSENT = "-"

METRIC_WORDS = {
    "success": "success",
    "score": "score",
    "steps": "steps",
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "completion tokens",
}

ARM_WORDS = {
    "base": "the model as it is, no hints",
    "teacher": "the same model with hints from the bank",
    "baseline": "student trained on the base's own successes, no hints",
    "distill": "student trained on the teacher's successes with the hints removed, no hints",
    "teacher_random": "control: the same model with hints of other kinds of task",
    "best_of_2": "control: student trained on successes of two tries without hints",
}


def percent(rate: float | None, digits: int = 1) -> str:
    return ABSENT if rate is None else f"{100 * rate:.{digits}f}"


def interval(ci95: Sequence[float] | None) -> str:
    """Of a rate, in percent: `52.1-64.3`."""
    return "" if ci95 is None else f"{percent(ci95[0])}-{percent(ci95[1])}"


def number(value: float | None, digits: int = 0) -> str:
    return ABSENT if value is None else f"{value:,.{digits}f}"


def p_words(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"


def difference(row: Mapping[str, Any]) -> str:
    """`+13.5 points (95 % 8.1 to 18.9)` for success, the metric's own unit otherwise."""
    factor, digits, unit = {
        "success": (100, 1, " points"),
        "score": (1, 3, ""),
        "steps": (1, 2, ""),
    }.get(row["metric"], (1, 0, ""))
    low, high = (_signless(factor * bound, digits) for bound in row["ci95"])
    return f"{_signed(factor * row['delta'], digits)}{unit} (95 % {low} to {high})"


def sentence(row: Mapping[str, Any]) -> str:
    """`distill - baseline: +13.5 points (95 % 8.1 to 18.9), p < 0.001, 720 pairs: real`."""
    what = "" if row["metric"] == "success" else f" {METRIC_WORDS.get(row['metric'], row['metric'])}"
    return f"{row['a']} - {row['b']}{what}: {difference(row)}, {p_words(row['p_value'])}, {row['n_pairs']:,} pairs: {verdict_words(row)}"


def verdict_words(row: Mapping[str, Any]) -> str:
    if row["verdict"] == "suggestive":
        return f"alone yes, not among all comparisons (Holm {p_words(row['p_value_holm'])})"
    return str(row["verdict"])


def tied(results: Mapping[str, Any]) -> str:
    """`Tied in success, best first: a distill; b teacher, base. ...`; empty where nothing was compared."""
    block = results.get("tied")
    if not block or not block["pairs"]:
        return ""
    listed = "; ".join(f"{group['letter']} {', '.join(group['arms'])}" for group in block["groups"])
    return (
        f"Tied in success, best first: {listed}. Arms of a group are not told apart (Holm over all {len(block['pairs'])} pairs of arms), "
        "which is not to say that they are equal."
    )


def stragglers(results: Mapping[str, Any]) -> list[str]:
    """A sentence for every arm: what ran over a budget or was tried again, and how it compares; [] for results that do not tell."""
    return [
        _straggler_sentence(arm["name"], arm["stragglers"]) for arm in results["arms"] if "stragglers" in arm
    ]


def _straggler_sentence(name: str, line: Mapping[str, Any]) -> str:
    """`base: 12 episodes ran over a budget (12 steps): ...; 118 finished: ...; 3 retried: ...; 1 error.`"""
    groups = line["groups"]
    over = ", ".join(f"{count:,} {what}" for what, count in line["over_budget"].items() if count)
    parts = [
        f"{groups['over budget']['n']:,} over budget"
        + (f" ({over})" if over else "")
        + _of_group(groups["over budget"]),
        f"{groups['finished']['n']:,} finished" + _of_group(groups["finished"]),
    ]
    if groups["retried"]["n"]:
        parts.append(f"{groups['retried']['n']:,} retried" + _of_group(groups["retried"]))
    if line["errors"]:
        parts.append(f"{line['errors']:,} given up as errors of the machinery")
    return f"{name}: {'; '.join(parts)}."


def _of_group(group: Mapping[str, Any]) -> str:
    if not group["n"]:
        return ""
    low, middle, high = (number(turns) for turns in group["turns"])
    return f": success {percent(group['success_rate'])} %, {middle} turns ({low}-{high}), {number(group['seconds'][1], 1)} s"


def spent(results: Mapping[str, Any]) -> str:
    """`Tokens computed for a success: base 1,180 (930-1,520), ...`, with dollars where prices are known."""
    arms = [
        arm for arm in results.get("ledger", {}).get("arms", ()) if arm["views"]["computed"]["per_success"]
    ]
    if not arms:
        return ""
    listed = ", ".join(f"{arm['name']} {per_success(arm['views']['computed'])}" for arm in arms)
    priced = [arm for arm in arms if arm["usd"]]
    dollars = ", ".join(f"{arm['name']} {per_success(arm['usd'], 4)}" for arm in priced)
    return f"Tokens computed for a success (95 %): {listed}." + (f" USD: {dollars}." if priced else "")


def per_success(rates: Mapping[str, Any], digits: int = 0) -> str:
    """`1,180 (930-1,520)`; an interval without an upper end is `(930 or more)`."""
    if rates["per_success"] is None:
        return ABSENT
    low, high = rates["per_success_ci95"]
    reach = (
        f"{number(low, digits)} or more" if high is None else f"{number(low, digits)}-{number(high, digits)}"
    )
    return f"{number(rates['per_success'], digits)} ({reach})"


def payback(row: Mapping[str, Any], view: str) -> str:
    """When a student has saved the tokens that it cost, in a sentence; `view` is processed or computed."""
    counted = row[view]
    if counted is None:
        return f"{row['arm']} and {row['teacher']} finished no pair of episodes."
    saved, (low, high) = counted["saved_per_episode"], counted["saved_ci95"]
    fewer, ends = ("fewer", (low, high)) if saved >= 0 else ("more", (-high, -low))
    first = f"Tokens {view}: {number(abs(saved))} an episode {fewer} than {row['teacher']} (95 % {' to '.join(map(number, ends))})"
    cost = f"the {number(counted['one_off_total'])} that {row['arm']} took before it played"
    if counted["break_even_episodes"] is None:
        return f"{first}, so {cost} are never saved."
    beyond = f"{number(counted['one_off_beyond_teacher'])} of them, which the teacher does without, after {number(counted['break_even_episodes_beyond_teacher'])}"
    return f"{first}; {cost} are saved after {number(counted['break_even_episodes'])} episodes, {beyond}."


def find(results: Mapping[str, Any], a: str, b: str, metric: str = "success") -> Mapping[str, Any] | None:
    """The comparison of two arms, None where the study has it not."""
    return next((r for r in results["comparisons"] if (r["a"], r["b"], r["metric"]) == (a, b, metric)), None)


def answer(results: Mapping[str, Any]) -> tuple[str, str]:
    """The study's question answered: one word, and the sentence that carries it."""
    row = find(results, "distill", "baseline")
    if row is None:
        return "Not asked", "The study has no distilled student to compare with a baseline student."
    numbers = f"{difference(row)}, {p_words(row['p_value'])}, {row['n_pairs']:,} pairs"
    if row["verdict"] == "not told apart":
        reach = row.get("detectable_difference")
        limit = (
            f" Differences from about {100 * reach:.0f} points would show here four times in five."
            if reach
            else ""
        )
        return (
            "Not shown",
            f"The distilled student and the baseline student are not told apart: {numbers}.{limit}",
        )
    if row["delta"] < 0:
        return "No", f"The distilled student does worse than the baseline student: {numbers}."
    word = "Yes" if row["verdict"] == "real" else "Perhaps"
    tail = "" if word == "Yes" else " Corrected for all comparisons of the study it is not certain."
    return word, f"The distilled student beats the student trained on plain successes: {numbers}.{tail}"


def _signed(value: float, digits: int) -> str:
    text = f"{value:+,.{digits}f}"
    return text if float(text.replace(",", "")) != 0 else f"{0:.{digits}f}"


def _signless(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    return text if float(text.replace(",", "")) != 0 else f"{0:.{digits}f}"
