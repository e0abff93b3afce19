"""Files as memory: pages are read when they are touched."""

from __future__ import annotations

import mmap
from pathlib import Path

from porting.errors import BadSource


def mapped(path: Path, missing: str) -> memoryview:
    """The bytes of a file, read-only. ``missing`` says what a missing file means.

    Raises:
        BadSource: it does not exist or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            if path.stat().st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise BadSource(f"{path}: no such file; {missing}") from None
    except OSError as error:
        raise BadSource(f"{path}: cannot be read: {error.strerror}") from error
