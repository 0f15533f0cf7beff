"""Plots of success, of success by kind and of training, as SVG text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill.report.canvas import (
    INK,
    RULE,
    as_svg,
    colour_of,
    draw_dot,
    draw_legend,
    line_style_of,
    new_figure,
    plain,
)


def success_plot(results: Mapping[str, Any]) -> str | None:
    """Success of each arm with its 95 % interval."""
    arms = [arm for arm in results["arms"] if arm["success_rate"] is not None]
    if not arms:
        return None
    figure, ax = new_figure(height=0.9 + 0.42 * len(arms))
    for y, arm in enumerate(reversed(arms)):
        draw_dot(ax, arm["name"], arm["success_rate"], arm["success_ci95"], y)
        high = arm["success_ci95"][1]
        ax.text(100 * high + 1.2, y, f"{100 * arm['success_rate']:.1f}", va="center", color=INK)
    ax.set_yticks(range(len(arms)), [plain(arm["name"]) for arm in reversed(arms)])
    ax.set_ylim(-0.6, len(arms) - 0.4)
    ax.set_xlim(0, max(60.0, min(106.0, 10 + 100 * max(arm["success_ci95"][1] for arm in arms))))
    ax.set_xlabel("success, % of episodes, with 95 % interval")
    return as_svg(figure, "Success of each arm with its 95 percent interval")


def kinds_plot(results: Mapping[str, Any]) -> str | None:
    """Success by kind of task for the four main arms."""
    arms = [
        a for a in results["arms"] if a["name"] in ("base", "teacher", "baseline", "distill") and a["kinds"]
    ]
    kinds = sorted({kind for arm in arms for kind in arm["kinds"]})
    if not kinds or len(kinds) > 24:
        return None
    step = 0.19
    figure, ax = new_figure(height=1.0 + 0.24 * len(kinds) * max(3, len(arms)))
    rows = list(reversed(kinds))
    for y, kind in enumerate(rows):
        if y:
            ax.axhline(y - 0.5, color=RULE, linewidth=0.8)
        for place, arm in enumerate(arms):
            figures = arm["kinds"].get(kind)
            if figures and figures["success_rate"] is not None:
                offset = ((len(arms) - 1) / 2 - place) * step
                draw_dot(
                    ax, arm["name"], figures["success_rate"], figures["success_ci95"], y + offset, size=5.5
                )
    ax.set_yticks(range(len(rows)), [plain(_kind_label(kind)) for kind in rows])
    ax.set_ylim(-0.5, len(rows) - 0.5)
    ax.set_xlim(0, 102)
    ax.set_xlabel("success, %, with 95 % interval")
    draw_legend(ax, [arm["name"] for arm in arms])
    return as_svg(figure, "Success by kind of task")


def loss_plot(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str | None:
    """Training loss by step: every run of an arm (`distill s1`, `distill s2`) as a thin line, their mean as a thick one."""
    runs: dict[str, list[dict[int, float]]] = {}
    for name, rows in curves.items():
        points = {int(row["step"]): row["loss"] for row in rows if "step" in row and "loss" in row}
        if points:
            runs.setdefault(name.split()[0], []).append(points)
    if not runs:
        return None
    figure, ax = new_figure(height=3.0)
    for position, (arm, drawn) in enumerate(runs.items()):
        style = {"color": colour_of(arm), "linestyle": line_style_of(position)}
        for points in drawn if len(drawn) > 1 else ():
            ax.plot(list(points), list(points.values()), linewidth=0.7, alpha=0.45, **style)
        steps, means = _mean_curve(drawn)
        ax.plot(steps, means, linewidth=1.9, marker="." if len(steps) < 20 else None, **style)
    ax.set_ylim(0, None)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("loss a token")
    ax.grid(axis="y", color=RULE, linewidth=0.8)
    words = [f"{arm} ({len(drawn)} seeds)" if len(drawn) > 1 else arm for arm, drawn in runs.items()]
    draw_legend(ax, list(runs), labels=words, line=True)
    return as_svg(figure, "Training loss")


def _mean_curve(runs: Sequence[Mapping[int, float]]) -> tuple[list[int], list[float]]:
    """Over the steps that every run has: with fewer runs towards the end a mean would jump where one stops."""
    steps = sorted(set(runs[0]).intersection(*runs[1:]))
    return steps, [float(np.mean([run[step] for run in runs])) for step in steps]


def _kind_label(kind: str) -> str:
    """ALFWorld's long names broken in two lines."""
    words = kind.replace("_", " ")
    if len(words) <= 18:
        return words
    middle = min((abs(i - len(words) / 2), i) for i, c in enumerate(words + " ") if c == " ")[1]
    return words[:middle] + "\n" + words[middle + 1 :]
