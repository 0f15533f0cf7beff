"""The report of a study: results.json, table.txt, plots and report.html, all made from the inputs alone."""

from pathlib import Path

from distill.report import plots
from distill.report.inputs import ReportInputs
from distill.report.page import render_page
from distill.report.table import table_text
from distill.results import write_results


def build_report(inputs: ReportInputs, out_dir: Path) -> Path:
    """Write the report into `out_dir` and return the path of report.html; equal inputs give equal bytes."""
    drawn = {
        "success": plots.success_plot(inputs.results),
        "tokens": plots.tokens_plot(inputs.results),
        "kinds": plots.kinds_plot(inputs.results),
        "loss": plots.loss_plot(inputs.curves),
    }
    figures = {name: svg for name, svg in drawn.items() if svg is not None}
    write_results(inputs.results, out_dir / "results.json")
    _write(out_dir / "table.txt", table_text(inputs.results))
    (out_dir / "plots").mkdir(exist_ok=True)
    for name, svg in figures.items():
        _write(out_dir / "plots" / f"{name}.svg", plots.standalone(svg))
    page = out_dir / "report.html"
    _write(page, render_page(inputs, figures))
    return page


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
