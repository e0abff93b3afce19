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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from porting.errors import OutputError

_OURS = re.compile(r"\.porting-(?P<machine>.*)-(?P<process>\d+)-[^-]*")


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        OutputError: its folder cannot be made or written to; nothing is left there.
    """
    with written_whole(path) as place, place.open("w", encoding="utf-8") as stream:
        stream.write(text)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A hidden file that takes the place of ``path``, or of what that links to, if all goes well.

    Raises:
        OutputError: its folder cannot be made or written to; nothing is left there.
    """
    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary(target.parent) as place:
            yield place
            with place.open("rb+") as stream:
                sync(stream)
            place.replace(target)
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


def is_temporary(name: str) -> bool:
    """Whether a name is of something that is being written."""
    return _OURS.fullmatch(name) is not None


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


def check_files(files: Sequence[Path], read: Iterable[Path | None] = ()) -> None:
    """See that each result can be written to its file, before the work that they are to hold.

    Raises:
        OutputError: one cannot; two are to be the same; or one is to take the place
            of a file that is ``read``, or of one of a checkpoint's whose prefix that is.
    """
    places = [_tried(file.resolve, file) for file in files]
    inputs = [path.resolve() for path in read if path is not None]
    for file, place in zip(files, places, strict=True):
        check_file(file)
        if places.count(place) > 1:
            raise OutputError(f"{file}: two results would be written there; name a file for each")
        if any(_is_of(place, path) for path in inputs):
            raise OutputError(f"{file}: is read here; write the result to another file")


def _is_of(place: Path, read: Path) -> bool:
    """Whether a place is a file, or one of those that a checkpoint's prefix stands for."""
    beside = place.parent == read.parent and not read.exists()
    return place == read or (beside and place.name.startswith(f"{read.name}."))


def check_file(path: Path) -> None:
    """See that a file can be written, before the work that it is to hold.

    Raises:
        OutputError: it cannot.
    """
    if _tried(path.is_dir, path):
        raise OutputError(f"{path}: cannot be written: it is a folder")
    if _tried(path.exists, path) and not path.is_file():
        raise OutputError(f"{path}: cannot be written: it is a device or a pipe, and no file")
    check_folder(path.resolve().parent, path)


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
