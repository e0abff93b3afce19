"""Whole files or none: written beside, synced, renamed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from porting.errors import OutputError


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        OutputError: its folder cannot be made or written to; nothing is left there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary(path.parent) as place:
            with place.open("w", encoding="utf-8") as stream:
                stream.write(text)
                sync(stream)
            place.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def temporary(out: Path) -> Iterator[Path]:
    """A hidden file in ``out`` that is gone afterwards unless it was renamed."""
    handle, name = tempfile.mkstemp(prefix=".porting-", dir=out)
    os.close(handle)
    place = Path(name)
    try:
        # mkstemp makes files private; a result is as readable as any other.
        place.chmod(0o666 & ~_umask())
        yield place
    finally:
        place.unlink(missing_ok=True)


def sync(stream: IO[Any]) -> None:
    """Have a file's bytes on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
