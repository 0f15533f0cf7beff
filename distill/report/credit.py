"""What attribution found, as the page shows it: credit beside each hint, and a summary for each hinted arm."""

from collections.abc import Mapping
from typing import Any

HINTS_SHOWN = 25
FEWEST_FLIPS = 5
"""Flips below which a hint's interval says next to nothing."""

Attributions = Mapping[str, Mapping[str, Any]]
"""By arm, what `attribution.json` says."""


def credit_by_hint(attributions: Attributions) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    """By hint id, (arm, credit) of every arm that was given it in a flip."""
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for arm, attribution in attributions.items():
        for credit in attribution["hints"]:
            found.setdefault(credit["id"], []).append((arm, credit))
    return found


def credit_summaries(attributions: Attributions) -> list[dict[str, Any]]:
    """What the section on attribution shows, one entry an arm."""
    return [
        {
            "arm": arm,
            "words": _summary(attribution),
            "hints": attribution["hints"][:HINTS_SHOWN],
            "others": len(attribution["hints"][HINTS_SHOWN:]),
        }
        for arm, attribution in attributions.items()
    ]


def missing_credit(results: Mapping[str, Any], attributions: Attributions) -> str:
    """The command that makes attribution for the study, "" where it is there or nothing can be attributed."""
    names = [arm["name"] for arm in results["arms"] if arm["hints"] and arm["adapter"] is None]
    if attributions or not names:
        return ""
    arm = "teacher" if "teacher" in names else names[0]
    return f"offbook attribute runs/{results['study']}" + ("" if arm == "teacher" else f" --arm {arm}")


def bar(credit: Mapping[str, Any]) -> dict[str, float]:
    """Places of a Shapley value and its interval on a scale from -1 to 1, in percent of its width."""
    low, high = credit["shapley_ci95"]
    left, right, at = (50 + 50 * max(-1.0, min(1.0, value)) for value in (low, high, credit["shapley"]))
    return {"left": round(left, 1), "width": round(max(right - left, 0.5), 1), "at": round(at, 1)}


def few(credit: Mapping[str, Any]) -> bool:
    return credit["num_flips"] < FEWEST_FLIPS


def _summary(attribution: Mapping[str, Any]) -> list[str]:
    flips, unstable, broken = (
        attribution["num_flips"],
        attribution["num_unstable"],
        attribution.get("num_broken", 0),
    )
    stable = flips - unstable
    first = f"{flips:,} (task, seed) pairs that base lost and this arm won were played again with every part of their hints"
    lost = f"; {broken:,} more were lost by the machinery" if broken else ""
    shaky = (
        f"{unstable:,} of them were not the same when played again with all hints and with none, and count for no hint."
        if unstable
        else "All of them repeated: lost without a hint, won with all."
    )
    if not stable:
        return [f"{first}{lost}.", shaky]
    worked = (
        f"Of the {stable:,} that count, one hint alone wins {100 * attribution['any_alone']:.0f} %, and no smaller part than all of them wins "
        f"{100 * attribution['together_only']:.0f} %."
    )
    return [f"{first}{lost}.", shaky, worked]
