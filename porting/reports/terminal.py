"""What a command prints: text in two columns, tables, JSON, and a progress bar while it works."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from porting.errors import OutputError
from porting.exits import discard_output, shown
from porting.plain_json import encoded

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table

    from porting.accuracy.evaluation.running import Standing

_GAP = 2


def show(as_json: bool, to_json: Callable[[], Any], print_text: Callable[[], None]) -> None:
    """Print a command's outcome as JSON or as text, as by :func:`print_output`."""
    if as_json:
        text = json.dumps(encoded(to_json()), indent=1)
        print_output(lambda: typer.echo(text))
    else:
        print_output(print_text)


def print_output(print_text: Callable[[], None]) -> None:
    """Print to standard output; a reader that stops reading changes no exit code.

    Raises:
        OutputError: standard output cannot be written.
    """
    try:
        print_text()
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from error


def print_lines(pairs: Sequence[tuple[str, str]]) -> None:
    """Print pairs in two columns; long values wrap under their column, paths stay whole."""
    indent = max(len(label) for label, _ in pairs) + _GAP
    width = max(shutil.get_terminal_size().columns - indent, 20)
    for label, value in pairs:
        lines: list[str] = []
        for part in shown(value).splitlines() or [""]:
            margin = " " * (len(part) - len(part.lstrip()))
            lines += textwrap.wrap(
                part, width, subsequent_indent=margin, break_long_words=False,
                break_on_hyphens=False,
            ) or [""]  # fmt: skip
        typer.echo(typer.style(shown(label).ljust(indent), bold=True) + lines[0])
        for line in lines[1:]:
            typer.echo(" " * indent + line)


def print_table(table: Table, width: int) -> None:
    """Print a table behind an empty line, at most ``width`` columns wide."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.width > width:
        console = Console(highlight=False, width=width)
    # Captured: rich itself ends the process with 1 where nobody reads on.
    with console.capture() as output:
        console.print()
        console.print(table)
    typer.echo(output.get(), nl=False)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function to call with (done, total); None where standard error is not a terminal.

    The bar goes to standard error and is cleared at the end. Until it is called
    for the first time, it moves to show that work goes on, also while TensorFlow
    starts, whose messages are kept off standard error meanwhile.
    """
    with _bar_on_terminal() as bar:
        if bar is None:
            yield None
        else:
            task = bar.add_task(what, total=None)
            yield lambda count, total: bar.update(task, completed=count, total=total)


@contextmanager
def evaluation_bar() -> Iterator[Callable[[Standing], None] | None]:
    """As :func:`progress_bar`, with images a second, time left and each side's top-1 so far.

    Of several ranks it shows the first one's share.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[right]}"),
    )  # fmt: skip
    with _bar_on_terminal(*columns) as bar:
        if bar is None:
            yield None
            return
        task = bar.add_task("evaluating", total=None, rate="", right="")

        def advance(standing: Standing) -> None:
            of, answers = standing.ranks, max(standing.usable, 1)
            top1 = (f"{name} {count / answers:.1%}" for name, count in standing.right.items())
            bar.update(
                task, completed=standing.done, total=standing.total, right=" ".join(top1),
                rate=f"{standing.rate:.0f}/s" if standing.rate else "",
                description="evaluating" if of == 1 else f"rank 0 of {of}",
            )  # fmt: skip

        yield advance


@contextmanager
def _bar_on_terminal(*columns: ProgressColumn) -> Iterator[Progress | None]:
    """A bar on a handle of its own to the terminal, which stays if standard error is redirected."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8") as terminal,
        Progress(*columns, console=Console(file=terminal), transient=True) as bar,
    ):
        yield bar
