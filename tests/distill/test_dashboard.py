"""The dashboard asks for what is measured, for all of it, and by tags that are there."""

import json
import re

from actors.metrics import METRICS
from distill.sight.dashboard import FILE, rows, text

SUFFIXES = ("_bucket", "_sum", "_count")
BY_NAME = {metric.exported: metric for metric in METRICS}


def queries():
    return [query for panels in rows().values() for panel in panels for query in panel.queries]


def test_the_file_is_what_the_list_of_metrics_makes():
    assert FILE.read_text(encoding="utf-8") == text(), "python -m distill.sight.dashboard writes it anew"


def test_every_row_has_panels_and_no_two_share_a_place():
    document = json.loads(text())
    titles = [panel["title"] for panel in document["panels"] if panel["type"] == "row"]
    assert titles == ["Progress", "Engines", "Hosts", "Faults", "Training"]
    cells = [
        (x, y)
        for panel in document["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


def test_panels_ask_for_metrics_that_are_measured_and_leave_none_out():
    asked = set()
    for query in queries():
        for name in re.findall(r"\bray_\w+", query.expr):
            plain = next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)
            assert plain in BY_NAME, query.expr
            assert (plain != name) == (BY_NAME[plain].kind == "histogram"), query.expr
            asked.add(plain)
    assert asked == set(BY_NAME)


def test_panels_group_and_filter_by_tags_that_the_metric_has():
    for query in queries():
        [*metrics] = {BY_NAME[re.sub("_bucket$", "", name)] for name in re.findall(r"\bray_\w+", query.expr)}
        tags = {tag for metric in metrics for tag in metric.tags} | {"le"}
        grouped = {tag for group in re.findall(r"by \(([^)]*)\)", query.expr) for tag in group.split(", ")}
        filtered = set(re.findall(r'(\w+)[!=]=?~?"', query.expr)) | set(re.findall(r"(\w+)=~", query.expr))
        assert grouped | filtered <= tags, query.expr
        assert set(re.findall(r"{{(\w+)}}", query.legend)) <= tags
        assert query.expr.count("(") == query.expr.count(")")


def test_only_counters_and_buckets_are_rated():
    for query in queries():
        for name in re.findall(r"rate\((ray_\w+)", query.expr):
            assert name.endswith(("_total", "_bucket"))
        if "rate(" not in query.expr:
            assert "_bucket" not in query.expr
