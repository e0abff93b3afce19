"""Files mapped into memory, and how large a shape may be that a file states."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

from porting.errors import BadSource

MOST_SIDES = 254
"""Most axes of a shape in TensorFlow (``TensorShape::MaxDimensions``)."""

MOST_SIDES_READ = 32
"""Most axes of an array in every NumPy that this package works with (64 since NumPy 2)."""

ENDLESS = 1 << 62
"""Stands for any number of elements that no file can hold."""


def mapped(
    path: Path, missing: str = "", display: Path | None = None, may_be_empty: bool = True
) -> memoryview:
    """The bytes of a file, read-only; pages are read when they are touched.

    ``missing`` is what a message adds where the file does not exist, ``display`` what messages
    call it.

    Raises:
        BadSource: it does not exist or cannot be read, or is empty and ``may_be_empty`` is not set.
    """
    try:
        with path.open("rb") as stream:
            if path.stat().st_size == 0:
                if not may_be_empty:
                    raise BadSource(f"{display or path}: the file is empty")
                return memoryview(b"")
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise BadSource(f"{display or path}: no such file{missing and f'; {missing}'}") from None
    except OSError as error:
        raise BadSource(f"{display or path}: cannot be read: {error.strerror}") from error


def elements(shape: Sequence[int]) -> int:
    """Elements of a shape without negative sides, :data:`ENDLESS` at most."""
    if 0 in shape:
        return 0
    total = 1
    for side in shape:
        total *= side
        if total >= ENDLESS:
            return ENDLESS
    return total


def size_text(count: int) -> str:
    """A number of bytes or elements for a message."""
    return f"{count:,}" if count < ENDLESS else "more than any file's"
