"""Write files whole or not at all: to a temporary file in the same folder, synced, renamed.

A temporary file that a killed process left behind is removed by the next process that writes to
the folder (:mod:`porting.temporary`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from porting.errors import OutputError
from porting.temporary import own_prefix, remove_stale

T = TypeVar("T")


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        OutputError: its folder cannot be made or written to; nothing is left there.
    """
    with written_whole(path) as place, place.open("w", encoding="utf-8") as stream:
        stream.write(text)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a hidden file that replaces ``path``, or its link's target, unless an error is raised.

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
    """Yield a hidden file in ``out``, removed afterwards unless it was renamed."""
    remove_stale(out)
    handle, name = tempfile.mkstemp(prefix=f".{own_prefix()}", dir=out)
    os.close(handle)
    place = Path(name)
    try:
        _make_ordinary(place, 0o666)
        yield place
    finally:
        place.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_written_whole(path: Path, replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield a hidden folder that becomes ``path``, unless an error is raised.

    An empty folder there is replaced, and another one if it is ``replaceable``.

    Raises:
        OutputError: something else is there, or the folder cannot be written.
    """
    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(target.parent)
        _check_replaceable(path, target, replaceable)
        place = Path(tempfile.mkdtemp(prefix=f".{own_prefix()}", dir=target.parent))
        try:
            _make_ordinary(place, 0o777)
            yield place
            _check_replaceable(path, target, replaceable)
            if target.is_dir() and any(target.iterdir()):
                former = place.with_name(f"{place.name}.former")
                target.rename(former)
                place.rename(target)
                shutil.rmtree(former)
            else:
                place.rename(target)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _check_replaceable(path: Path, target: Path, replaceable: Callable[[Path], bool]) -> None:
    if target.exists() and not target.is_dir():
        raise OutputError(f"{path}: is a file; name a folder that is new, or empty")
    if target.is_dir() and any(target.iterdir()) and not replaceable(target):
        raise OutputError(
            f"{path}: holds other files, which are not replaced; name a folder that is new or empty"
        )


def _make_ordinary(place: Path, mode: int) -> None:
    """Give a private file of ``tempfile`` the usual permissions."""
    mask = os.umask(0)
    os.umask(mask)
    place.chmod(mode & ~mask)


def sync(stream: IO[Any]) -> None:
    """Write a file's buffered bytes to the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def check_files(files: Sequence[Path], sources: Iterable[Path | None] = ()) -> None:
    """Check that each result can be written to its file, before the work that produces it.

    Raises:
        OutputError: one cannot be written; two are the same file; or one would replace a file of
            ``sources``, or of a checkpoint whose prefix is in ``sources``.
    """
    places = [_checked(file.resolve, file) for file in files]
    inputs = [path.resolve() for path in sources if path is not None]
    for file, place in zip(files, places, strict=True):
        check_file(file)
        if places.count(place) > 1:
            raise OutputError(f"{file}: two results would be written there; name a file for each")
        for path in inputs:
            beside = place.parent == path.parent and not path.exists()  # path may be a prefix
            if place == path or (beside and place.name.startswith(f"{path.name}.")):
                raise OutputError(f"{file}: is read here; write the result to another file")


def check_file(path: Path) -> None:
    """Check that a file can be written.

    Raises:
        OutputError: it cannot.
    """
    if _checked(path.is_dir, path):
        raise OutputError(f"{path}: cannot be written: it is a folder")
    if _checked(path.exists, path) and not path.is_file():
        raise OutputError(f"{path}: cannot be written: it is a device or a pipe")
    check_folder(path.resolve().parent, path)


def check_folder(out: Path, path: Path | None = None) -> None:
    """Check that files can be written to a folder, or that it can be made; nothing is left.

    Raises:
        OutputError: they cannot; the message names ``path`` where given, else the folder.
    """
    path = path or out
    place = out.absolute()
    while not _checked(place.exists, path) and place != place.parent:
        place = place.parent
    # A file without a name: it is gone however this process ends.
    _checked(lambda: tempfile.TemporaryFile(dir=place).close(), path)


def _checked(attempt: Callable[[], T], path: Path) -> T:
    try:
        return attempt()
    except OSError as error:
        name = str(path) if len(str(path)) < 200 else f"{str(path)[:200]}..."
        raise OutputError(f"{name}: cannot be written: {error.strerror or error}") from error
