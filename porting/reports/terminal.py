"""Printing a command's outcome: text in two columns, or JSON."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import typer

from porting.errors import OutputError
from porting.exits import nobody_reads_on
from porting.plain_json import encoded

_GAP = 2


def show(data: dict[str, Any], as_json: bool, print_text: Callable[[dict[str, Any]], None]) -> None:
    """Print a command's outcome. A reader that stops reading changes no exit code."""
    try:
        if as_json:
            typer.echo(json.dumps(encoded(data), indent=1))
        else:
            print_text(data)
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads_on()
    except OSError as error:
        nobody_reads_on()
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from error


def print_lines(pairs: Sequence[tuple[str, str]]) -> None:
    """Print pairs in two columns; long values wrap under their column, paths stay whole."""
    indent = max(len(label) for label, _ in pairs) + _GAP
    width = max(shutil.get_terminal_size().columns - indent, 20)
    for label, value in pairs:
        lines = [line for part in value.splitlines() or [""] for line in _wrap_lines(part, width)]
        typer.echo(typer.style(label.ljust(indent), bold=True) + lines[0])
        for line in lines[1:]:
            typer.echo(" " * indent + line)


def _wrap_lines(part: str, width: int) -> list[str]:
    indent = " " * (len(part) - len(part.lstrip()))
    lines = textwrap.wrap(
        part, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines or [""]
