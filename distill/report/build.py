"""The report of a study: results.json, table.txt, plots and report.html, all made from the inputs alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.atomic import write_atomically
from distill.report import plots
from distill.report.canvas import standalone
from distill.report.frontier_plot import frontier_plot
from distill.report.inputs import ReportInputs
from distill.report.page import render_page
from distill.report.table import table_text
from distill.results import results_text


def build_report(inputs: ReportInputs, out_dir: Path, *, beside: Sequence[ReportInputs] = ()) -> Path:
    """Write the report into `out_dir` and return the path of report.html; equal inputs give equal bytes.

    `beside`: further studies that stand on the same page, each with its own panel; their results.json lie in their own reports.
    """
    figures = _figures(inputs)
    write_atomically(out_dir / "results.json", results_text(inputs.results))
    write_atomically(out_dir / "table.txt", table_text(inputs.results))
    for name, svg in figures.items():
        write_atomically(out_dir / "plots" / f"{name}.svg", standalone(svg))
    page = out_dir / "report.html"
    studies = [(inputs, figures), *((other, _figures(other)) for other in beside)]
    write_atomically(page, render_page(studies))
    return page


def _figures(inputs: ReportInputs) -> Mapping[str, str]:
    drawn = {
        "success": plots.success_plot(inputs.results),
        "frontier": frontier_plot(inputs.results["frontier"]),
        "kinds": plots.kinds_plot(inputs.results),
        "loss": plots.loss_plot(inputs.curves),
    }
    return {name: svg for name, svg in drawn.items() if svg is not None}
