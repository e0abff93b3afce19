"""What ``porting evaluate --explain`` says in the terminal; at most 80 columns."""

from __future__ import annotations

from typing import Any

import typer

from porting.reports.lines import print_lines

WIDTH = 80


def print_explanation(explanation: dict[str, Any]) -> None:
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
        table.add_row(*_row(change), style="green" if change["helps"] else None)
    # Captured: rich itself ends the process with 1 where nobody reads on.
    with console.capture() as captured:
        console.print()
        console.print(table)
    typer.echo(captured.get(), nl=False)


def _row(change: dict[str, Any]) -> tuple[str, ...]:
    mark = " *" if change["helps"] else ""
    return (
        change["topic"], change["change"] + mark, f"{change['top1']:.2f}",
        f"{change['points']:+.2f}", f"{change['low']:+.2f} to {change['high']:+.2f}",
        f"{change['adjusted_p']:.1g}",
    )  # fmt: skip
