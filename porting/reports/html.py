"""The HTML report: one file, made from the JSON report alone, that loads nothing else."""

from __future__ import annotations

import html
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import typer

from porting.atomic_files import write_text
from porting.reports.report_files import EVALUATION, write_report

CHARTS = "echarts.min.js"
"""Apache ECharts 5.6.0, ``echarts.min.js`` of its npm package, unchanged."""

EVALUATION_SCRIPTS = ("intervals.js", "evaluation.js", "explanation.js")
COMPARISON_SCRIPTS = ("charts.js", "tap.js", "table.js", "weights.js", "comparison.js")
"""In this order in one script element: each uses what stands before it; the last sets off."""

SHOWN = 60
"""Images of an evaluation, differing or left out, that a page lists at most: some 6 kB each."""


def page(data: dict[str, Any], evaluation: dict[str, Any] | None = None) -> str:
    """The report on a comparison, with an evaluation's section where one is given, as HTML.

    ``data`` may be an evaluation itself, whose page then holds that section alone.
    """
    if data["schema"] == EVALUATION:
        return _evaluation_page(data)
    verdict = "at parity" if data["agrees"] else "not at parity"
    section = "" if evaluation is None else _part("evaluation.html")
    scripts = () if evaluation is None else EVALUATION_SCRIPTS
    charts = _part(CHARTS).replace("</script", "<\\/script")
    return _fill_template(
        "page.html",
        title=html.escape(f"{data['source']['file']}: {verdict}"),
        sections=_fill_template("comparison.html", evaluation=section),
        data=_as_script(
            {"comparison": data, "evaluation": evaluation and _shortened_evaluation(evaluation)}
        ),
        charts=f"<script>{charts}</script>\n",
        script=_scripts("base.js", *scripts, *COMPARISON_SCRIPTS),
        style=_part("page.css"),
    )


def _evaluation_page(evaluation: dict[str, Any]) -> str:
    files = (evaluation["made_from"].get(what) for what in ("checkpoint", "source"))
    name = next(file["file"] for file in files if file)
    return _fill_template(
        "page.html",
        title=html.escape(f"{name}: {evaluation['verdict']['sentence']}"),
        sections=_part("evaluation.html"),
        data=_as_script({"comparison": None, "evaluation": _shortened_evaluation(evaluation)}),
        charts="",
        script=_scripts("base.js", *EVALUATION_SCRIPTS, "evaluation_page.js"),
        style=_part("page.css"),
    )


def _shortened_evaluation(evaluation: dict[str, Any]) -> dict[str, Any]:
    """An evaluation with the images that a page lists; how many there are, its counts tell."""
    dataset, agreement = evaluation["data"], evaluation["agreement"]
    if agreement is not None:
        agreement = {**agreement, "differing": agreement["differing"][:SHOWN]}
    return {
        **evaluation,
        "data": {**dataset, "failed": dataset["failed"][:SHOWN]},
        "agreement": agreement,
    }


def write_page(data: dict[str, Any], path: Path, evaluation: dict[str, Any] | None = None) -> None:
    """Write the page of :func:`page`, whole or not at all.

    Raises:
        OutputError: the path cannot be written.
    """
    write_text(path, page(data, evaluation))


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


def _fill_template(template: str, **parts: str) -> str:
    """A template with its parts: in one go, for a name in a part may look like a place in it."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _part(template))


def _as_script(value: Any) -> str:
    # Inside a script element nothing but "<" can end it early.
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _scripts(*names: str) -> str:
    return "\n".join(map(_part, names))


def _part(name: str) -> str:
    return resources.files("porting.reports").joinpath("page", name).read_text(encoding="utf-8")
