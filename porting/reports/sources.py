"""The output of ``porting sources``: a table of published sources."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from porting.catalog.local import on_disk
from porting.catalog.published import CatalogEntry

_HEADINGS = ("name", "format", "px", "top-1/top-5", "on disk")
_GAP = 2
_MIB = 1 << 20

Row = Sequence[str]


def summarise_sources(entries: Iterable[CatalogEntry], folder: Path) -> dict[str, Any]:
    """The entries, with what a folder of downloads has of each, as plain data."""
    entries_json = []
    for entry in entries:
        here = on_disk(entry, folder)
        file = str(folder / entry.file_name)
        entries_json.append(
            {**vars(entry), "file": file, "on_disk": here.state, "bytes": here.size}
        )
    return {"folder": str(folder), "sources": entries_json}


def print_sources(data: dict[str, Any]) -> None:
    """Print them: a table by networks on a terminal; else a line each, a tab between its fields."""
    sources = data["sources"]
    if not sys.stdout.isatty():
        for source in sources:
            name, *rest = _row(source)
            typer.echo("\t".join((name, source["model"], *rest)))
        return
    for line in _table(sources):
        typer.echo(line)
    here = [source for source in sources if source["on_disk"] == "yes"]
    size = _size(sum(source["bytes"] for source in here))
    total = f", {size}" if here else ""
    typer.echo(f"\n{len(sources)} published, {len(here)} in {data['folder']}{total}")


def _row(source: dict[str, Any]) -> Row:
    accuracy = [str(top) for top in (source["top1"], source["top5"]) if top is not None]
    size = f" {_size(source['bytes'])}" if source["on_disk"] != "no" else ""
    return (
        source["name"], source["format"], str(source["size"]), "/".join(accuracy) or "-",
        source["on_disk"] + size,
    )  # fmt: skip


def _table(sources: Sequence[dict[str, Any]]) -> Iterator[str]:
    rows = [_row(source) for source in sources]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    roomy = 1 + sum(widths) + _GAP * (len(widths) - 1)
    gap = _GAP if roomy <= shutil.get_terminal_size().columns else 1
    yield typer.style(_line(_HEADINGS, widths, gap), dim=True)
    numbered_rows = zip(sources, rows, strict=True)
    for model, group in groupby(numbered_rows, key=lambda pair: pair[0]["model"]):
        yield typer.style(model, bold=True)
        yield from (_line(row, widths, gap) for _, row in group)


def _line(row: Row, widths: Sequence[int], gap: int) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return " " + (" " * gap).join(cells).rstrip()


def _size(count: int) -> str:
    """Bytes as a few letters: at most eight below 100 GiB."""
    mib = count / _MIB
    return f"{mib:.1f} MiB" if mib < 100 else f"{mib:.0f} MiB"
