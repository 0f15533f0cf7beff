"""What all plots share: colours, ink that follows the page, and SVG text that reads on light and dark, in a file or inside HTML."""

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
INK, MUTED, RULE, PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
_VARIABLES = {
    INK: "var(--ink, #1d2126)",
    MUTED: "var(--muted, #5c6670)",
    RULE: "var(--rule, #d5dae0)",
    PAPER: "var(--paper, #ffffff)",
}
_OWN_STYLE = "<style>:root{--paper:#ffffff;--ink:#1d2126;--muted:#5c6670;--rule:#d5dae0}@media(prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e8eaed;--muted:#a2abb5;--rule:#3a424c}}</style>"


def standalone(svg: str) -> str:
    """The same plot as a file of its own, with its own light and dark ink."""
    head, _, rest = svg.partition(">")
    return f"{head}>{_OWN_STYLE}{rest}"


def colour_of(arm: str) -> str:
    return ARM_COLOURS.get(arm, OTHER_COLOUR)


def line_style_of(position: int) -> str | tuple[int, tuple[float, ...]]:
    """Lines that differ in colour differ in dashes as well."""
    return ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))[position % 5]


def plain(text: str) -> str:
    """For matplotlib, to which a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def new_figure(*, height: float) -> tuple["Figure", "Axes"]:
    # The object-oriented interface: pyplot keeps every figure alive and picks a window system.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.6, height), layout="constrained")
    ax = figure.add_subplot()
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(RULE)
    ax.tick_params(colors=MUTED, labelcolor=INK, length=0)
    ax.xaxis.label.set_color(MUTED)
    ax.yaxis.label.set_color(MUTED)
    ax.grid(axis="x", color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    return figure, ax


def draw_dot(ax: "Axes", arm: str, rate: float, ci95: Sequence[float], y: float, *, size: float = 8) -> None:
    colour = colour_of(arm)
    ax.plot(
        [100 * ci95[0], 100 * ci95[1]], [y, y], color=colour, linewidth=2, alpha=0.6, solid_capstyle="round"
    )
    ax.plot(100 * rate, y, ARM_MARKERS.get(arm, "o"), color=colour, markersize=size)


def draw_legend(
    ax: "Axes", arms: Sequence[str], *, labels: Sequence[str] | None = None, line: bool = False
) -> None:
    """Above the plot; `labels` instead of the arms' names."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=colour_of(arm),
            linestyle=line_style_of(position) if line else "",
            marker="" if line else ARM_MARKERS.get(arm, "o"),
        )
        for position, arm in enumerate(arms)
    ]
    ax.legend(
        handles,
        [plain(label) for label in labels or arms],
        ncols=min(len(arms), 4),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        frameon=False,
        labelcolor=INK,
        handlelength=2.2 if line else 1.2,
        columnspacing=1.4,
    )


def spread_labels(
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


def as_svg(figure: "Figure", label: str) -> str:
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
