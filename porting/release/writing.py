"""Whole files or none: written beside, synced, renamed.

What is being written is called ``.porting-<machine>-<process>-...``. What a
killed process leaves behind under such a name goes when the next one writes to
the same folder.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from porting.errors import OutputError

_OURS = re.compile(r"\.porting-(?P<machine>.*)-(?P<process>\d+)-[^-]*")


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
    remove_stale(out)
    handle, name = tempfile.mkstemp(prefix=f".porting-{platform.node()}-{os.getpid()}-", dir=out)
    os.close(handle)
    place = Path(name)
    try:
        # mkstemp makes files private; a result is as readable as any other.
        place.chmod(0o666 & ~_umask())
        yield place
    finally:
        place.unlink(missing_ok=True)


def remove_stale(out: Path) -> None:
    """Remove what processes of this machine that are gone left half written."""
    for place in out.glob(".porting-*"):
        if is_stale(place.name):
            place.unlink(missing_ok=True)


def is_stale(name: str) -> bool:
    """Whether a temporary name is of a process of this machine that is gone."""
    made = _OURS.fullmatch(name)
    return bool(made and made["machine"] == platform.node() and not _runs(int(made["process"])))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def sync(stream: IO[Any]) -> None:
    """Have a file's bytes on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def check_file(path: Path) -> None:
    """See that a file can be written, before the work that it is to hold.

    Raises:
        OutputError: it cannot.
    """
    if _tried(path.is_dir, path):
        raise OutputError(f"{path}: cannot be written: it is a folder")
    check_folder(path.parent, path)


def check_folder(out: Path, told: Path | None = None) -> None:
    """See that files can be written to a folder, or that it can be made; nothing is left.

    Raises:
        OutputError: they cannot; it names ``told`` where that is given.
    """
    told = told or out
    place = out.absolute()
    while not _tried(place.exists, told) and place != place.parent:
        place = place.parent
    # Without a name: it is gone however this process ends.
    _tried(lambda: tempfile.TemporaryFile(dir=place).close(), told)


def _tried(attempt: Any, told: Path) -> Any:
    try:
        return attempt()
    except OSError as error:
        shown = str(told) if len(str(told)) < 200 else f"{str(told)[:200]}..."
        raise OutputError(f"{shown}: cannot be written: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
