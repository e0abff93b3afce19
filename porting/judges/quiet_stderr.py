"""Keeping what C++ libraries write on being started off the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stderr_silenced() -> Iterator[None]:
    """Standard error leads nowhere meanwhile, for C++ too."""
    if sys.stderr is not None:
        sys.stderr.flush()
    kept = _copied(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        if kept is None:
            os.close(2)
        else:
            os.dup2(kept, 2)
            os.close(kept)
        if nowhere != 2:
            os.close(nowhere)


def _copied(number: int) -> int | None:
    """Another number for the same file; None where it is closed."""
    try:
        return os.dup(number)
    except OSError:
        return None
