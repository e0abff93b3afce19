"""Silencing standard error while C++ libraries start."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stderr_silenced() -> Iterator[None]:
    """Redirect standard error to the null device, for C++ code too."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        original = os.dup(2)
    except OSError:  # standard error is closed
        original = None
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        if original is None:
            os.close(2)
        else:
            os.dup2(original, 2)
            os.close(original)
        if devnull != 2:
            os.close(devnull)
