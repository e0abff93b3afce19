"""Reports as files: JSON, checked against its schema when it is read, and HTML made from it alone.

The HTML report is one file that loads nothing else.
"""

from __future__ import annotations

import html
import json
import re
import textwrap
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import typer

from porting.atomic_files import write_text
from porting.errors import BadInput

COMPARISON, COMPARISON_VERSION = "genmobilenet.comparison", 3
EVALUATION, EVALUATION_VERSION = "genmobilenet.evaluation", 2


@dataclass(frozen=True)
class Kind:
    """The command that writes a kind of report, the file of its schema, and its version."""

    command: str
    file: str
    version: int


KINDS = {
    COMPARISON: Kind("porting diff --json", "schema.json", COMPARISON_VERSION),
    EVALUATION: Kind("porting evaluate --json", "evaluation_schema.json", EVALUATION_VERSION),
}

CHARTS = "echarts.min.js"
"""Apache ECharts 5.6.0, ``echarts.min.js`` of its npm package, unchanged."""

EVALUATION_SCRIPTS = ("intervals.js", "evaluation.js", "explanation.js")
COMPARISON_SCRIPTS = ("charts.js", "tap.js", "table.js", "weights.js", "comparison.js")
"""In this order in one script element: each uses those before it; the last one draws the page."""

LISTED_IMAGES = 60
"""Images of an evaluation, differing or left out, that a page lists at most: some 6 kB each."""


def schema(name: str = COMPARISON) -> dict[str, Any]:
    """The JSON Schema of a kind of report."""
    place = resources.files("porting.reports").joinpath(KINDS[name].file)
    return dict(json.loads(place.read_text(encoding="utf-8")))


def write_report(data: dict[str, Any], path: Path) -> None:
    """Write a report's JSON, whole or not at all.

    Raises:
        OutputError: the path cannot be written.
    """
    write_text(path, json.dumps(data, separators=(",", ":")) + "\n")


def read_report(path: Path, *names: str) -> dict[str, Any]:
    """Read a report's JSON, of one of the kinds ``names``, by default of any in :data:`KINDS`.

    Members that its schema does not know are ignored.

    Raises:
        BadInput: it is not a report of these kinds and this version, or not by its schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a readable report ({error})") from error
    kinds = names or tuple(KINDS)
    name = data.get("schema") if isinstance(data, dict) else None
    if name not in kinds:
        commands = " or ".join(f"`{KINDS[kind].command}`" for kind in kinds)
        raise BadInput(f"{path}: not a report of {commands}")
    version = KINDS[name].version
    if data.get("version") != version:
        raise BadInput(
            f"{path}: a report of version {data.get('version')}; version {version} is read"
        )
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    rules = _without_closing(schema(name))
    mismatch = best_match(Draft202012Validator(rules).iter_errors(data))
    if mismatch is not None:
        # Of several alternatives, the one that complains of something inside the value is meant.
        while inner := [part for part in mismatch.context or () if part.path]:
            mismatch = inner[0]
        place = mismatch.json_path.removeprefix("$").removeprefix(".") or "the report"
        value = repr(mismatch.instance)
        message = mismatch.message.replace(value, textwrap.shorten(value, 60, placeholder=" ..."))
        raise BadInput(f"{path}: {place}: {message}")
    return dict(data)


def _without_closing(part: Any) -> Any:
    """A schema that allows unknown members, which a later version may write."""
    if isinstance(part, list):
        return [_without_closing(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _without_closing(value)
        for key, value in part.items()
        if (key, value) != ("additionalProperties", False)
    }


def read_together(comparison: Path, evaluation: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the JSON of a comparison and of an evaluation of the same source and network.

    Raises:
        BadInput: as :func:`read_report`; or they are of different files.
    """
    pair = read_report(comparison, COMPARISON), read_report(evaluation, EVALUATION)
    files = pair[1]["made_from"]
    for what, one, other in (
        ("source", pair[0]["source"], files.get("source")),
        ("network", pair[0]["subject"], files.get("checkpoint")),
    ):
        if other is None:
            raise BadInput(f"{evaluation}: evaluates no {what}; {comparison}: compares "
                           f"{one['file']}")  # fmt: skip
        if one["sha256"] is None:
            raise BadInput(
                f"{comparison}: compares a {what} that was in memory, which cannot be shown to be "
                "that of a file; run porting diff on the file"
            )
        if one["sha256"] != other["sha256"]:
            raise BadInput(
                f"{evaluation}: evaluates the {what} {other['file']} (SHA-256 {other['sha256']}), "
                f"{comparison}: compares {one['file']} (SHA-256 {one['sha256']}); expected the same"
            )
    return pair


def page(data: dict[str, Any], evaluation: dict[str, Any] | None = None) -> str:
    """The HTML report on a comparison's JSON, with a section on an evaluation's where given.

    A comparison that has a ``diagnosis`` begins with a section on it.
    ``data`` may be an evaluation itself, whose page then holds that section alone.
    """
    if data["schema"] == EVALUATION:
        comparison, evaluation = None, data
        files = (data["made_from"].get(what) for what in ("checkpoint", "source"))
        name, verdict = next(file["file"] for file in files if file), data["verdict"]["sentence"]
        sections, charts = _part("evaluation.html"), ""
        scripts: tuple[str, ...] = (*EVALUATION_SCRIPTS, "evaluation_page.js")
    else:
        comparison = data
        name, verdict = data["source"]["file"], "at parity" if data["agrees"] else "not at parity"
        section = "" if evaluation is None else _part("evaluation.html")
        diagnosed = "diagnosis" in data
        sections = _part("diagnosis.html") if diagnosed else ""
        sections += _fill_template("comparison.html", evaluation=section)
        charts = "<script>{}</script>\n".format(_part(CHARTS).replace("</script", "<\\/script"))
        first, last = COMPARISON_SCRIPTS[:-1], COMPARISON_SCRIPTS[-1]
        own = ("diagnosis.js",) if diagnosed else ()
        scripts = (*(EVALUATION_SCRIPTS if evaluation else ()), *first, *own, last)
    if evaluation is not None:
        # The first images alone; how many there are, the counts say.
        dataset, agreement = dict(evaluation["data"]), evaluation["agreement"]
        dataset["failed"] = dataset["failed"][:LISTED_IMAGES]
        if agreement is not None:
            agreement = {**agreement, "differing": agreement["differing"][:LISTED_IMAGES]}
        evaluation = {**evaluation, "data": dataset, "agreement": agreement}
    content = json.dumps(
        {"comparison": comparison, "evaluation": evaluation}, separators=(",", ":")
    )
    return _fill_template(
        "page.html",
        title=html.escape(f"{name}: {verdict}"),
        sections=sections,
        data=content.replace("<", "\\u003c"),  # nothing but "<" can end a script element early
        charts=charts,
        script="\n".join(map(_part, ("base.js", *scripts))),
        style=_part("page.css"),
    )


def write_page(data: dict[str, Any], path: Path, evaluation: dict[str, Any] | None = None) -> None:
    """Write the page of :func:`page`, whole or not at all.

    Raises:
        OutputError: the path cannot be written.
    """
    write_text(path, page(data, evaluation))


def write_reports(data: dict[str, Any], html_file: Path | None, json_file: Path | None) -> None:
    """Write the page and the JSON, each where a path is given.

    Raises:
        OutputError: a path cannot be written.
    """
    if html_file is not None:
        write_page(data, html_file)
    if json_file is not None:
        write_report(data, json_file)


def print_files(*files: Path | None) -> None:
    """Say which files were written; None stands for one that was not requested."""
    for file in files:
        if file is not None:
            typer.echo(f"wrote    {file}")


def _fill_template(template: str, **parts: str) -> str:
    """A template with its parts, all at once: a part may contain what looks like a place."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _part(template))


def _part(name: str) -> str:
    return resources.files("porting.reports").joinpath("page", name).read_text(encoding="utf-8")
