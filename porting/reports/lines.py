"""Label and value, a line each, as the commands print them."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

import typer

_GAP = 2


def print_lines(pairs: Sequence[tuple[str, str]]) -> None:
    """Print pairs in two columns; long values wrap under their column, paths stay whole."""
    indent = max(len(label) for label, _ in pairs) + _GAP
    width = max(shutil.get_terminal_size().columns - indent, 20)
    for label, value in pairs:
        lines = [
            line
            for part in value.splitlines() or [""]
            for line in textwrap.wrap(part, width, break_long_words=False, break_on_hyphens=False)
            or [""]
        ]
        typer.echo(typer.style(label.ljust(indent), bold=True) + lines[0])
        for line in lines[1:]:
            typer.echo(" " * indent + line)
