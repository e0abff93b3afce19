"""The terminal output of ``porting evaluate``, at most 80 columns wide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from porting.reports.inspection import input_lines
from porting.reports.terminal import print_lines

WIDTH = 80

SHOWN = 10
"""Images listed at most; the page lists more, the JSON and the rows have all."""


def print_evaluation(data: dict[str, Any]) -> None:
    """Print a report's data as text."""
    dataset = data["data"]
    pairs = [
        ("data", f"{dataset['path']}: {dataset['examples']:,} images, {dataset['kind']}"),
        ("labels", dataset["label_order"]),
        *(("note", note) for note in dataset["notes"]),
        *_provenance_lines(data["made_from"]),
        *_input(data),
        *((name, _accuracy(side)) for name, side in data["sides"].items()),
    ]
    if data["stated"] is not None:
        pairs.append(("stated", f"top-1 {data['stated']:.2f} %"))
    if data["agreement"] is not None:
        pairs += _agreement(data["agreement"])
    pairs += _first_entries("left out", [_failure_line(failed) for failed in dataset["failed"]])
    pairs.append(("verdict", data["verdict"]["sentence"]))
    print_lines(pairs)
    if data["explanation"] is not None:
        _print_explanation(data["explanation"])


def _input(data: dict[str, Any]) -> list[tuple[str, str]]:
    """What the networks take; the authors' pipeline is named once where it is the one in use."""
    by_authors = data["convention"]["preprocessing"]
    in_use = list(dict.fromkeys(side["pipeline"] for side in data["sides"].values()))
    if in_use == [by_authors]:
        convention = {**data["convention"], "preprocessing": None}
        return [*input_lines(convention), ("pixels", f"as its authors made them: {by_authors}")]
    return [*input_lines(data["convention"]), ("pixels", "; ".join(in_use))]


def _provenance_lines(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    if source := provenance.get("source"):
        pairs.append(
            ("source", f"{source['file']} ({source['weights']}), run by {source['judge']}")
        )
    if checkpoint := provenance.get("checkpoint"):
        weights = f" ({checkpoint['weights']})" if checkpoint["weights"] else ""
        pairs.append(("network", f"{checkpoint['model']}, {checkpoint['file']}{weights}"))
    return pairs


def _accuracy(side: dict[str, Any]) -> str:
    return "; ".join(
        f"top-{among} {share['percent']:.2f} % ({share['low']:.2f} to {share['high']:.2f})"
        for among in (1, 5)
        for share in [side[f"top{among}"]]
    )


def _agreement(agreement: dict[str, Any]) -> list[tuple[str, str]]:
    top1, sets, change = (agreement[key] for key in ("top1", "top5_sets", "difference"))
    return [
        ("agree", f"on {top1['count']:,} of {top1['of']:,} answers, on {sets['count']:,} "
         f"set{'' if sets['count'] == 1 else 's'} of five"),
        ("port - judge", f"{change['points']:+.2f} points ({change['low']:+.2f} to "
         f"{change['high']:+.2f}); right alone: port {change['gained']:,}, judge "
         f"{change['lost']:,}; McNemar p = {change['p']:.2g}"),
        *_first_entries("differ", [_difference_line(image) for image in agreement["differing"]]),
    ]  # fmt: skip


def _first_entries(label: str, entries: list[str]) -> list[tuple[str, str]]:
    """The first entries, a line or two each, under one label, and how many more there are."""
    lines = entries[:SHOWN]
    if len(entries) > SHOWN:
        lines = [*lines, f"and {len(entries) - SHOWN:,} more"]
    return [(label if not number else "", line) for number, line in enumerate(lines)]


def _difference_line(image: dict[str, Any]) -> str:
    """Image and label; below, by what margin each side answered what."""
    answers = ", ".join(
        f"{name} {image[name]['called']} by {float(image[name]['margin']):.3g}"
        for name in ("judge", "port")
    )
    why = "; a near tie" if image["near_tie"] else ""
    if image.get("by_quantisation"):
        why = "; by quantisation"
    return f"{Path(image['name']).name}, {image['called']}:\n  {answers}{why}"


def _failure_line(entry: dict[str, str]) -> str:
    return (
        entry["reason"] if entry["name"] in entry["reason"] else "{name}: {reason}".format(**entry)
    )


def _print_explanation(explanation: dict[str, Any]) -> None:
    """Print a report's explanation as text: a table of changes, what was left out, a sentence."""
    _print_changes(explanation["changes"])
    pairs = [("left out", f"{left['topic']}: {left['why']}") for left in explanation["left_out"]]
    typer.echo()
    print_lines([*pairs, ("explained", explanation["sentence"])])


def _print_changes(changes: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if console.width > WIDTH:
        console = Console(highlight=False, width=WIDTH)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    helps = " (* helps)" if any(change["helps"] for change in changes) else ""
    table.add_column("changed", no_wrap=True)
    table.add_column(f"to what, for what{helps}", overflow="fold", ratio=1)
    for name in ("top-1", "points", "95 %", "p, Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for change in changes:
        table.add_row(*_change_row(change), style="green" if change["helps"] else None)
    # Captured: rich itself ends the process with 1 where nobody reads on.
    with console.capture() as output:
        console.print()
        console.print(table)
    typer.echo(output.get(), nl=False)


def _change_row(change: dict[str, Any]) -> tuple[str, ...]:
    mark = " *" if change["helps"] else ""
    return (
        change["topic"], change["change"] + mark, f"{change['top1']:.2f}",
        f"{change['points']:+.2f}", f"{change['low']:+.2f} to {change['high']:+.2f}",
        f"{change['adjusted_p']:.1g}",
    )  # fmt: skip
