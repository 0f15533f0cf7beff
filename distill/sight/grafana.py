"""Panels as the document that Grafana imports. Knows no metric."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    about: str = ""


def document(title: str, by_row: Mapping[str, tuple[Panel, ...]], runs: str) -> dict[str, Any]:
    """`runs`: the query whose answers the reader may choose among as `$run`."""
    return {
        "title": title,
        "uid": title.lower(),
        "tags": [title.lower(), "ray"],
        "schemaVersion": 38,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_data_source(), _choice("run", "Run", runs)]},
        "panels": list(_placed(by_row)),
    }


def _placed(by_row: Mapping[str, tuple[Panel, ...]]) -> Iterator[dict[str, Any]]:
    top, number = 0, 0
    for title, panels in by_row.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
            "panels": [],
        }
        top += 1
        for place, panel in enumerate(panels):
            number += 1
            across = _COLUMNS // _WIDTH
            at = {
                "x": place % across * _WIDTH,
                "y": top + place // across * _HEIGHT,
                "w": _WIDTH,
                "h": _HEIGHT,
            }
            yield _panel(panel, number, at)
        top += -(-len(panels) // (_COLUMNS // _WIDTH)) * _HEIGHT


def _panel(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": at,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
            }
            for n, query in enumerate(panel.queries)
        ],
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _choice(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "label": label,
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }
