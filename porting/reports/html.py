"""The HTML report: one file, made from a comparison's JSON alone, that asks the network nothing."""

from __future__ import annotations

import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

import typer

from porting.release.writing import write_text
from porting.reports.comparison import write_report

CHARTS = "echarts.min.js"
"""Apache ECharts 5.6.0, ``echarts.min.js`` of its npm package, unchanged."""

SCRIPTS = ("base.js", "charts.js", "tap.js", "table.js", "page.js")
"""In this order in one script element: each uses what stands before it; the last sets off."""


def page(data: dict[str, Any]) -> str:
    """The report as HTML."""
    parts = {
        "title": html.escape(f"{data['source']['file']}: {_verdict(data)}"),
        "style": _part("page.css"),
        # Inside a script element nothing but "<" can end it early.
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "charts": _part(CHARTS).replace("</script", "<\\/script"),
        "script": "\n".join(_part(name) for name in SCRIPTS),
    }
    text = _part("page.html")
    for name, part in parts.items():
        before, _, after = text.partition("{{" + name + "}}")
        text = before + part + after
    return text


def write_page(data: dict[str, Any], path: Path) -> None:
    """Write the report, whole or not at all.

    Raises:
        OutputError: the path cannot be written.
    """
    write_text(path, page(data))


def write_reports(data: dict[str, Any], page: Path | None, data_file: Path | None) -> list[str]:
    """Write the page and the data, where they are asked for; return what was written.

    Raises:
        OutputError: a path cannot be written.
    """
    if page is not None:
        write_page(data, page)
    if data_file is not None:
        write_report(data, data_file)
    return [str(file) for file in (page, data_file) if file is not None]


def print_page(data: dict[str, Any]) -> None:
    """Say where the report was written to."""
    typer.echo(data["report"])


def _verdict(data: dict[str, Any]) -> str:
    return "at parity" if data["agrees"] else "not at parity"


def _part(name: str) -> str:
    return resources.files("porting.reports").joinpath("page", name).read_text(encoding="utf-8")
