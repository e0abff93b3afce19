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
        lines = [line for part in value.splitlines() or [""] for line in _wrapped(part, width)]
        typer.echo(typer.style(label.ljust(indent), bold=True) + lines[0])
        for line in lines[1:]:
            typer.echo(" " * indent + line)


def _wrapped(part: str, width: int) -> list[str]:
    indent = " " * (len(part) - len(part.lstrip()))
    lines = textwrap.wrap(
        part, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines or [""]
