"""Showing a command's outcome: text or JSON on standard output, in one piece."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import typer

from porting.errors import OutputError
from porting.exits import nobody_reads_on
from porting.plain_json import encoded


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
