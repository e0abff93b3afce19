"""The output of ``porting inspect``, ``porting sources`` and ``porting fetch``."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from genmobilenet.config import SEPARATOR
from porting.catalog.downloads import Download
from porting.catalog.local import OnDisk, on_disk
from porting.catalog.published import CatalogEntry
from porting.errors import PortingError
from porting.mapping.input_spec import Certainty, InputConvention, convention_of
from porting.mapping.match import Match
from porting.mapping.recognise import candidates, find_match
from porting.mapping.rules import choose_weight_set
from porting.reports.terminal import print_lines
from porting.sources import Source

CERTAINTIES: dict[Certainty, str] = {
    "proved": "known from", "stated": "stated, not proved", "assumed": "not proved",
    "unknown": "unknown",
}  # fmt: skip
"""How sure an input convention is -> what the terminal says before its evidence."""


@dataclass(frozen=True)
class Inspection:
    """What can be said of a source without running it.

    ``matches`` are the networks that it fits, ``convention`` is for the first of them;
    without any, ``why_no_model`` is the reason.
    """

    source: Source
    matches: tuple[Match, ...]
    convention: InputConvention | None
    why_no_model: str

    @property
    def operators(self) -> Counter[str]:
        """How many operators of each kind its graph has; none without a graph."""
        graph = self.source.graph
        return Counter(() if graph is None else (op.kind for op in graph.operators))

    @property
    def stored_as(self) -> Counter[str]:
        """How many tensors are stored in each type."""
        return Counter(info.stored_as for info in self.source.tensors.values())

    def to_json(self) -> dict[str, Any]:
        """The inspection as plain data."""
        source = self.source
        data: dict[str, Any] = {
            "source": str(source.path),
            "format": source.format,
            "sha256": source.sha256,
            "signature": source.signature,
            "weight_sets": list(source.weight_sets),
            "tensors": len(source.tensors),
            "stored_as": dict(self.stored_as),
            "operators": dict(self.operators),
            "models": [match.model for match in self.matches],
            "labels": source.labels,
        }
        if self.convention is None:
            return {**data, "why_no_model": self.why_no_model}
        classes = self.matches[0].config.num_classes
        return {**data, "input": self.convention.to_json(), "classes": classes}


def inspect_source(source: Source) -> Inspection:
    """Find which networks a source fits, and what it expects of its input."""
    matches = tuple(candidates(source, choose_weight_set(source, None)))
    if matches:
        return Inspection(source, matches, convention_of(source, matches[0]), "")
    reason = ""
    try:
        find_match(source, None)
    except PortingError as error:
        reason = str(error)
    return Inspection(source, (), None, reason)


def print_inspection(inspection: Inspection) -> None:
    """Print it as text."""
    source, operators = inspection.source, inspection.operators
    pairs = [
        ("source", str(source.path)),
        ("format", source.format),
        ("sha256", source.sha256),
        *([("signature", source.signature)] if source.signature else []),
        ("weights", ", ".join(source.weight_sets)),
        ("tensors", f"{len(source.tensors)} stored: {_counts_text(inspection.stored_as)}"),
    ]
    if operators:
        pairs.append(("operators", f"{operators.total()}: {_counts_text(operators)}"))
    models = ", ".join(match.model for match in inspection.matches)
    pairs.append(("fits", models or inspection.why_no_model))
    if inspection.convention is not None:
        pairs += input_lines(inspection.convention, inspection.matches[0].model)
        pairs.append(("classes", str(inspection.matches[0].config.num_classes)))
    if source.labels:
        pairs.append(
            ("labels", f"{len(source.labels)}: {source.labels[0]} ... {source.labels[-1]}")
        )
    print_lines(pairs)


def _counts_text(counts: Mapping[str, int]) -> str:
    entries = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count} {name}" for name, count in entries)


def input_lines(
    convention: InputConvention, model: str = "", with_preprocessing: bool = True
) -> list[tuple[str, str]]:
    """The input convention: a line each for its numbers, their evidence, and the preprocessing.

    Of a ``model`` that is in no table nothing says how its authors make pixels of image files.
    """
    mean, std = (", ".join(f"{v:.6g}" for v in values) for values in (convention.mean,
                                                                      convention.std))  # fmt: skip
    size = convention.size
    lines = [
        ("input", f"{size}x{size}, RGB 0..255, minus ({mean}), over ({std})"),
        ("", f"{CERTAINTIES[convention.certainty]}: {convention.evidence}"),
    ]
    if with_preprocessing and convention.preprocessing:
        usage = "usual for MobileNets" if SEPARATOR in model else "as its authors have it"
        lines.append(("", f"of image files, {usage}: {convention.preprocessing}"))
    return lines


@dataclass(frozen=True)
class Listing:
    """Published sources, each with what a folder of downloads has of it."""

    folder: Path
    sources: tuple[tuple[CatalogEntry, OnDisk], ...]

    def to_json(self) -> dict[str, Any]:
        """The listing as plain data."""
        sources = [
            {
                **vars(entry),
                "file": str(self.folder / entry.file_name),
                "on_disk": download.state,
                "bytes": download.size,
            }
            for entry, download in self.sources
        ]
        return {"folder": str(self.folder), "sources": sources}


def list_sources(entries: Iterable[CatalogEntry], folder: Path) -> Listing:
    """The entries, with what a folder of downloads has of each."""
    return Listing(folder, tuple((entry, on_disk(entry, folder)) for entry in entries))


def print_sources(listing: Listing) -> None:
    """Print a table by networks on a terminal; else a line a source, its fields between tabs."""
    rows = []
    for entry, download in listing.sources:
        accuracies = [str(top) for top in (entry.top1, entry.top5) if top is not None]
        size = f" {_size(download.size)}" if download.state != "no" else ""
        rows.append((entry.name, entry.format, str(entry.size), "/".join(accuracies) or "-",
                     download.state + size))  # fmt: skip
    models = [entry.model for entry, _ in listing.sources]
    if not sys.stdout.isatty():
        for model, (name, *others) in zip(models, rows, strict=True):
            typer.echo("\t".join((name, model, *others)))
        return
    headings = ("name", "format", "px", "top-1/top-5", "on disk")
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    gap = 2 if 1 + sum(widths) + 2 * (len(widths) - 1) <= shutil.get_terminal_size().columns else 1

    def line(row: Sequence[str]) -> str:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        return " " + (" " * gap).join(cells).rstrip()

    typer.echo(typer.style(line(headings), dim=True))
    for model, group in groupby(zip(models, rows, strict=True), key=lambda pair: pair[0]):
        typer.echo(typer.style(model, bold=True))
        for _, row in group:
            typer.echo(line(row))
    sizes = [download.size for _, download in listing.sources if download.state == "yes"]
    total = f", {_size(sum(sizes))}" if sizes else ""
    typer.echo(f"\n{len(rows)} published, {len(sizes)} in {listing.folder}{total}")


def _size(count: int) -> str:
    """Bytes in at most eight letters below 100 GiB."""
    mib = count / (1 << 20)
    return f"{mib:.1f} MiB" if mib < 100 else f"{mib:.0f} MiB"


def download_json(entry: CatalogEntry, download: Download) -> dict[str, Any]:
    """A download as plain data."""
    return {**vars(entry), "path": str(download.path), "sha256": download.sha256}


def print_download(entry: CatalogEntry, download: Download) -> None:
    """Print it as text."""
    tops = (("top-1", entry.top1), ("top-5", entry.top5))
    accuracy = ", ".join(f"{name} {top}" for name, top in tops if top is not None)
    pairs = [
        ("source", entry.name),
        ("model", f"{entry.model}, {entry.format}, {entry.size}x{entry.size}"),
        ("input", f"{entry.input}; {entry.classes} classes"),
        ("stated", f"{accuracy} ({entry.stated_in})" if accuracy else "no accuracy"),
        ("path", str(download.path)),
        ("sha256", download.sha256),
    ]
    print_lines(pairs)
