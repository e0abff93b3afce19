"""Files as memory: pages are read when they are touched."""

from __future__ import annotations

import mmap
from pathlib import Path

from porting.errors import BadSource


def mapped(path: Path, missing: str = "") -> memoryview:
    """The bytes of a file, read-only; none of an empty one. ``missing`` says what none means.

    Raises:
        BadSource: it does not exist or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            if path.stat().st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise BadSource(f"{path}: no such file{missing and f'; {missing}'}") from None
    except OSError as error:
        raise BadSource(f"{path}: cannot be read: {error.strerror}") from error


def mapped_whole(path: Path) -> memoryview:
    """The same of a file that is a source by itself.

    Raises:
        BadSource: it is empty, or cannot be read.
    """
    data = mapped(path)
    if not data:
        raise BadSource(f"{path}: the file is empty")
    return data
