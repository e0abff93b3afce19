"""A progress bar on the terminal; nothing where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function to call with (done, in all); None where nobody watches.

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
