"""The token-success frontier as a plot and as sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from distill.report.canvas import (
    ARM_MARKERS,
    INK,
    MUTED,
    PAPER,
    RULE,
    as_svg,
    colour_of,
    new_figure,
    plain,
    spread_labels,
)


def frontier_plot(points: Sequence[Mapping[str, Any]]) -> str | None:
    """Each arm with both its intervals; the line joins arms that no other beats in both, hollow marks are beaten ones."""
    if not points:
        return None
    figure, ax = new_figure(height=3.7)
    lows, highs = zip(*(point["tokens_ci95"] for point in points), strict=True)
    span = (max(highs) - min(lows)) or max(highs) or 1.0
    top = min(104.0, 12 + 100 * max(point["success_ci95"][1] for point in points))
    # Room on the right for the names, which stand behind the intervals.
    ax.set_xlim(max(0.0, min(lows) - 0.08 * span), max(highs) + 0.42 * span)
    ax.set_ylim(0, top)
    _draw_line(ax, points)
    for point in points:
        _draw_point(ax, point)
    heights = [100 * point["success_rate"] for point in points]
    heights = spread_labels(heights, highs, gap=0.06 * top, reach=0.45 * span)
    for point, height in zip(points, heights, strict=True):
        # On a patch of paper, or the lines of other arms would run through the name.
        patch = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 0.6}
        right = point["tokens_ci95"][1] + 0.03 * span
        ax.text(right, height, plain(point["arm"]), va="center", color=INK, bbox=patch)
    ax.set_xlabel("tokens an episode, prompt and written, with 95 % interval")
    ax.set_ylabel("success, %, with 95 % interval")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.grid(axis="y", color=RULE, linewidth=0.8)
    return as_svg(figure, "Tokens an episode against success, with the frontier")


def frontier_words(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which arms are on the frontier, then a sentence for each that is not."""
    if len(points) < 2:
        return []
    listed = ", ".join(point["arm"] for point in _on_frontier(points))
    return [
        f"On the frontier, from fewest tokens: {listed}.",
        *(_beaten_words(point) for point in points if point["dominated_by"]),
    ]


def _beaten_words(point: Mapping[str, Any]) -> str:
    by = point["dominated_by"]
    if not by["n_pairs"]:
        return f"{point['arm']} is dominated by {by['arm']} on the means; the two finished no pair of episodes together."
    wins, tokens = by["success_gain_ci95"], by["tokens_saved_ci95"]
    figures = (
        f"{100 * by['success_gain']:+.1f} points of success (95 % {100 * wins[0]:.1f} to {100 * wins[1]:.1f}) "
        f"with {by['tokens_saved']:,.0f} tokens an episode fewer (95 % {tokens[0]:,.0f} to {tokens[1]:,.0f})"
    )
    sure = (
        "; both intervals keep their sign" if by["certain"] else "; on the means only, an interval holds zero"
    )
    return f"{point['arm']} is dominated by {by['arm']}: {figures}{sure}."


def _on_frontier(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(
        (point for point in points if not point["dominated_by"]),
        key=lambda point: (point["tokens"], point["success_rate"]),
    )


def _draw_line(ax: Any, points: Sequence[Mapping[str, Any]]) -> None:
    kept = _on_frontier(points)
    right = ax.get_xlim()[1]
    tokens = [*(point["tokens"] for point in kept), right]
    heights = [100 * point["success_rate"] for point in kept]
    # A step, not a slope: nobody has played what lies between two arms.
    ax.plot(
        tokens, [*heights, heights[-1]], drawstyle="steps-post", color=MUTED, linewidth=1.2, linestyle="--"
    )


def _draw_point(ax: Any, point: Mapping[str, Any]) -> None:
    colour, (x, y) = colour_of(point["arm"]), (point["tokens"], 100 * point["success_rate"])
    bar = {"color": colour, "linewidth": 1.4, "alpha": 0.6}
    ax.plot([x, x], [100 * bound for bound in point["success_ci95"]], **bar)
    ax.plot(point["tokens_ci95"], [y, y], **bar)
    ax.plot(
        x,
        y,
        ARM_MARKERS.get(point["arm"], "o"),
        color=colour,
        markersize=8,
        fillstyle="none" if point["dominated_by"] else "full",
    )
