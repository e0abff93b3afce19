"""A progress bar on the terminal; nothing where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from porting.accuracy.evaluation.running import Standing


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function to call with (done, in all); None without a terminal.

    The bar goes to standard error and is cleared at the end. Until it is called
    for the first time, it moves to show that work goes on, also while TensorFlow
    starts, whose messages are kept off standard error meanwhile.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    # A handle of its own to the terminal, which stays when standard error leads elsewhere.
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8") as terminal,
        Progress(console=Console(file=terminal), transient=True) as bar,
    ):
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


@contextmanager
def evaluation_bar() -> Iterator[Callable[[Standing], None] | None]:
    """As :func:`progress_bar`, with images a second, time left and each side's top-1 so far.

    Of several ranks it shows the first one's share.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[right]}"),
    )  # fmt: skip
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8") as terminal,
        Progress(*columns, console=Console(file=terminal), transient=True) as bar,
    ):
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
