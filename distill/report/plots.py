"""Plots as SVG text that takes its ink from the page: readable on light and dark, in a file or inside HTML."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARM_COLOURS = {
    "base": "#868c95",
    "teacher": "#d98a00",
    "baseline": "#4f9bd6",
    "distill": "#009e73",
    "teacher_random": "#c8553d",
    "best_of_2": "#b76aa8",
}
"""After Okabe and Ito, at a lightness that stands out from white and from near-black; markers differ as well."""
OTHER_COLOUR = "#8d7bd1"
ARM_MARKERS = {
    "base": "o",
    "teacher": "^",
    "baseline": "s",
    "distill": "D",
    "teacher_random": "v",
    "best_of_2": "P",
}

# Placeholders that no palette uses; the page's own colours take their place.
_INK, _MUTED, _RULE = "#010203", "#040506", "#070809"
_VARIABLES = {_INK: "var(--ink, #1d2126)", _MUTED: "var(--muted, #5c6670)", _RULE: "var(--rule, #d5dae0)"}
_OWN_STYLE = "<style>:root{--ink:#1d2126;--muted:#5c6670;--rule:#d5dae0}@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--muted:#a2abb5;--rule:#3a424c}}</style>"


def success_plot(results: Mapping[str, Any]) -> str | None:
    """Success of each arm with its 95 % interval."""
    arms = [arm for arm in results["arms"] if arm["success_rate"] is not None]
    if not arms:
        return None
    figure, ax = _figure(height=0.9 + 0.42 * len(arms))
    for y, arm in enumerate(reversed(arms)):
        _dot(ax, arm["name"], arm["success_rate"], arm["success_ci95"], y)
        high = arm["success_ci95"][1]
        ax.text(100 * high + 1.2, y, f"{100 * arm['success_rate']:.1f}", va="center", color=_INK)
    ax.set_yticks(range(len(arms)), [_plain(arm["name"]) for arm in reversed(arms)])
    ax.set_ylim(-0.6, len(arms) - 0.4)
    ax.set_xlim(0, max(60.0, min(106.0, 10 + 100 * max(arm["success_ci95"][1] for arm in arms))))
    ax.set_xlabel("success, % of episodes, with 95 % interval")
    return _svg(figure, "Success of each arm with its 95 percent interval")


def tokens_plot(results: Mapping[str, Any]) -> str | None:
    """What an episode costs against what it wins."""
    arms = [arm for arm in results["arms"] if arm["success_rate"] is not None]
    if not arms:
        return None
    figure, ax = _figure(height=3.4)
    costs = [arm["prompt_tokens"] + arm["completion_tokens"] for arm in arms]
    for arm, cost in zip(arms, costs, strict=True):
        low, high = arm["success_ci95"]
        colour = _colour(arm["name"])
        ax.plot([cost, cost], [100 * low, 100 * high], color=colour, linewidth=1.4, alpha=0.55)
        ax.plot(
            cost, 100 * arm["success_rate"], ARM_MARKERS.get(arm["name"], "o"), color=colour, markersize=8
        )
    spread = (max(costs) - min(costs)) or max(costs) or 1.0
    ax.set_xlim(max(0.0, min(costs) - 0.12 * spread), max(costs) + 0.38 * spread)
    ax.set_ylim(0, min(104.0, 12 + 100 * max(arm["success_ci95"][1] for arm in arms)))
    for (name, cost), height in zip(
        [(arm["name"], cost) for arm, cost in zip(arms, costs, strict=True)],
        _spread_labels(
            [100 * arm["success_rate"] for arm in arms],
            costs,
            gap=0.055 * ax.get_ylim()[1],
            reach=0.4 * spread,
        ),
        strict=True,
    ):
        ax.text(cost + 0.033 * spread, height, _plain(name), va="center", color=_INK)
    ax.set_xlabel("tokens an episode, prompt and written")
    ax.set_ylabel("success, %")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.grid(axis="y", color=_RULE, linewidth=0.8)
    return _svg(figure, "Tokens an episode against success")


def kinds_plot(results: Mapping[str, Any]) -> str | None:
    """Success by kind of task for the four main arms."""
    arms = [
        a for a in results["arms"] if a["name"] in ("base", "teacher", "baseline", "distill") and a["kinds"]
    ]
    kinds = sorted({kind for arm in arms for kind in arm["kinds"]})
    if not kinds or len(kinds) > 24:
        return None
    step = 0.19
    figure, ax = _figure(height=1.0 + 0.24 * len(kinds) * max(3, len(arms)))
    rows = list(reversed(kinds))
    for y, kind in enumerate(rows):
        if y:
            ax.axhline(y - 0.5, color=_RULE, linewidth=0.8)
        for place, arm in enumerate(arms):
            figures = arm["kinds"].get(kind)
            if figures and figures["success_rate"] is not None:
                offset = ((len(arms) - 1) / 2 - place) * step
                _dot(ax, arm["name"], figures["success_rate"], figures["success_ci95"], y + offset, size=5.5)
    ax.set_yticks(range(len(rows)), [_plain(_kind_label(kind)) for kind in rows])
    ax.set_ylim(-0.5, len(rows) - 0.5)
    ax.set_xlim(0, 102)
    ax.set_xlabel("success, %, with 95 % interval")
    _legend(ax, [arm["name"] for arm in arms])
    return _svg(figure, "Success by kind of task")


def loss_plot(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str | None:
    """Training loss of each adapter; `distill s1` and `distill s2` are two runs of one arm and share its colour."""
    drawn = {
        arm: [(r["step"], r["loss"]) for r in rows if "step" in r and "loss" in r]
        for arm, rows in curves.items()
    }
    drawn = {arm: points for arm, points in drawn.items() if points}
    if not drawn:
        return None
    figure, ax = _figure(height=2.6)
    for arm, points in drawn.items():
        steps, losses = zip(*points, strict=True)
        ax.plot(
            steps,
            losses,
            color=_colour(arm.split()[0]),
            linewidth=1.6,
            marker="." if len(points) < 20 else None,
        )
    ax.set_ylim(0, None)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("loss")
    ax.grid(axis="y", color=_RULE, linewidth=0.8)
    _legend(ax, list(dict.fromkeys(arm.split()[0] for arm in drawn)), line=True)
    return _svg(figure, "Training loss")


def standalone(svg: str) -> str:
    """The same plot as a file of its own, with its own light and dark ink."""
    head, _, rest = svg.partition(">")
    return f"{head}>{_OWN_STYLE}{rest}"


def _colour(arm: str) -> str:
    return ARM_COLOURS.get(arm, OTHER_COLOUR)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar sign would start a formula


def _kind_label(kind: str) -> str:
    """ALFWorld's long names broken in two lines."""
    words = kind.replace("_", " ")
    if len(words) <= 18:
        return words
    middle = min((abs(i - len(words) / 2), i) for i, c in enumerate(words + " ") if c == " ")[1]
    return words[:middle] + "\n" + words[middle + 1 :]


def _figure(*, height: float) -> tuple["Figure", "Axes"]:
    # The object-oriented interface: pyplot keeps every figure alive and picks a window system.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.6, height), layout="constrained")
    ax = figure.add_subplot()
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(_RULE)
    ax.tick_params(colors=_MUTED, labelcolor=_INK, length=0)
    ax.xaxis.label.set_color(_MUTED)
    ax.yaxis.label.set_color(_MUTED)
    ax.grid(axis="x", color=_RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    return figure, ax


def _dot(ax: "Axes", arm: str, rate: float, ci95: Sequence[float], y: float, *, size: float = 8) -> None:
    colour = _colour(arm)
    ax.plot(
        [100 * ci95[0], 100 * ci95[1]], [y, y], color=colour, linewidth=2, alpha=0.6, solid_capstyle="round"
    )
    ax.plot(100 * rate, y, ARM_MARKERS.get(arm, "o"), color=colour, markersize=size)


def _legend(ax: "Axes", arms: Sequence[str], *, line: bool = False) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=_colour(a),
            linestyle="-" if line else "",
            marker="" if line else ARM_MARKERS.get(a, "o"),
        )
        for a in arms
    ]
    ax.legend(
        handles,
        [_plain(arm) for arm in arms],
        ncols=len(arms),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        frameon=False,
        labelcolor=_INK,
        handlelength=1.2,
        columnspacing=1.4,
    )


def _spread_labels(
    heights: Sequence[float], places: Sequence[float], *, gap: float, reach: float
) -> list[float]:
    """Heights moved apart, upwards from the lowest, where labels of neighbouring points would touch."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=lambda i: moved[i])
    for rank, i in enumerate(order):
        for j in order[:rank]:
            if abs(places[i] - places[j]) < reach and moved[i] - moved[j] < gap:
                moved[i] = moved[j] + gap
    return moved


def _svg(figure: "Figure", label: str) -> str:
    import matplotlib

    out = io.StringIO()
    # Text stays text; the salt makes equal figures equal bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "offbook", "font.size": 10}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", svg)
    svg = re.sub(r'(font(?:-family)?: [^;"]*?)\'DejaVu Sans\'[^;"]*', r"\1system-ui, sans-serif", svg)
    svg = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL
    )  # it would style the whole page
    for placeholder, variable in _VARIABLES.items():
        svg = svg.replace(placeholder, variable)
    return re.sub(r"<svg [^>]*>", lambda m: _opening_tag(m.group(), label), svg, count=1)


def _opening_tag(tag: str, label: str) -> str:
    box = re.search(r'viewBox="([^"]*)"', tag)
    assert box is not None
    width = float(box.group(1).split()[2])
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box.group(1)}" style="width:100%;max-width:{width * 1.45:.0f}px;stroke-linejoin:round" role="img" aria-label="{label}">'
