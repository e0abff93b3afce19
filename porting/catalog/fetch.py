"""Downloading a published source: resumed, checked, and whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porting.catalog.entry import STORAGE, CatalogEntry
from porting.catalog.lock import ChecksumMismatch, check_first_seen, check_recorded
from porting.errors import BadInput, OutputError

ATTEMPTS = 3
"""Times that a download is taken up again after it broke off."""

REFUSED = ".refused"
"""Ends the name of a download that is not what was first seen."""

NO_SOURCES = (".part", ".etag", ".json", REFUSED)
"""Endings of what lies beside downloads and is none itself."""

_TIMEOUT = (10, 60)
_CHUNK = 1 << 16  # what a broken connection costs at most
_BEGINS = {".tgz": b"\x1f\x8b", ".h5": b"\x89HDF\r\n\x1a\n"}
"""Ending of a published file -> its first bytes: gzip's, HDF5's."""

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Progress = Callable[[int, int], None]
"""Called with bytes here and bytes in all."""


class DownloadFailed(BadInput):
    """A published source cannot be had: no network, or the server refuses."""


@dataclass(frozen=True)
class Download:
    """A published source on this machine, with its SHA-256 in hexadecimal."""

    path: Path
    sha256: str


class _BrokenOff(Exception):
    """The connection ended before the file did."""


def fetch(
    entry: CatalogEntry, folder: Path, mirror: str | None = None, progress: Progress | None = None
) -> Download:
    """The entry's file in ``folder``, downloaded if it is not there.

    A download that broke off is taken up where it stopped, if the server still
    has the same file. ``mirror`` stands in for ``https://storage.googleapis.com``.

    Raises:
        DownloadFailed: it cannot be had; what has come is kept for the next time.
        ChecksumMismatch: its bytes are not those first seen under this name; what came is
            kept apart, as ``.refused``, and never used.
        OutputError: the folder cannot be written to.
    """
    target = folder / entry.file_name
    try:
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            _download(_mirrored(entry.url, mirror), target, progress)
        return Download(target, check_first_seen(entry, target))
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error


def _mirrored(url: str, mirror: str | None) -> str:
    return url if mirror is None else f"{mirror.rstrip('/')}/{url.removeprefix(STORAGE)}"


def _download(url: str, target: Path, progress: Progress | None) -> None:
    part = target.with_name(f"{target.name}.part")
    # The server's mark of the version that the part is of.
    mark = target.with_name(f"{target.name}.part.etag")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _continue(url, part, mark, progress)
            break
        except _BrokenOff as error:
            if attempt == ATTEMPTS:
                raise DownloadFailed(
                    f"{url}: broke off {ATTEMPTS} times ({error}); {part.name} is kept, and "
                    "the same command goes on from there"
                ) from error
    mark.unlink(missing_ok=True)
    _take_in(part, target)


def _take_in(part: Path, target: Path) -> None:
    """Put a whole download in place, if it is of its kind and its bytes are those first seen."""
    expected = _BEGINS[target.suffix]
    with part.open("rb") as stream:
        head = stream.read(len(expected))
    if head != expected:
        part.unlink()
        part.with_name(f"{part.name}.etag").unlink(missing_ok=True)
        raise DownloadFailed(
            f"{target.name}: what the server sent is no {target.suffix}: it begins {head!r}"
        )
    try:
        check_recorded(target, part)
    except ChecksumMismatch as error:
        refused = target.with_name(f"{target.name}{REFUSED}")
        part.replace(refused)
        raise ChecksumMismatch(f"{error}. What came is kept as {refused}, and not used") from error
    part.replace(target)


def _continue(url: str, part: Path, mark: Path, progress: Progress | None) -> None:
    import requests

    have = part.stat().st_size if part.is_file() and mark.is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark.read_text(encoding="utf-8")}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink(missing_ok=True)
                raise _BrokenOff("the part that was here did not fit the file")
            if not answer.ok:
                raise DownloadFailed(f"{url}: the server answers {answer.status_code}")
            _take(answer, part, mark, progress)
    except requests.exceptions.ChunkedEncodingError as error:
        raise _BrokenOff("the connection was closed early") from error
    except requests.ConnectionError as error:
        if part.is_file() and part.stat().st_size > have:
            raise _BrokenOff("the connection was lost") from error
        raise DownloadFailed(f"{url}: cannot be reached") from error
    except requests.RequestException as error:
        raise DownloadFailed(f"{url}: cannot be downloaded: {error}") from error


def _take(answer: Any, part: Path, mark: Path, progress: Progress | None) -> None:
    """Append what comes to the part, or begin it anew where the server sends the whole."""
    ranged = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    start = int(ranged[1]) if answer.status_code == 206 and ranged else 0
    if start > (part.stat().st_size if part.is_file() else 0):
        raise _BrokenOff("the server went on further than the part that was here")
    length = answer.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    if ranged and ranged[2] != "*":
        total = int(ranged[2])
    with part.open("r+b" if start else "wb") as out:
        _keep_mark(answer.headers.get("ETag"), mark)
        out.truncate(start)
        out.seek(start)
        for chunk in answer.iter_content(_CHUNK):
            out.write(chunk)
            if progress is not None and total is not None:
                progress(out.tell(), total)
        out.flush()
        os.fsync(out.fileno())
        if total is not None and out.tell() != total:
            raise _BrokenOff(f"{out.tell():,} of {total:,} bytes came")


def _keep_mark(etag: str | None, mark: Path) -> None:
    """A weak mark, or none, does not say that the bytes are the same: then nothing is resumed."""
    if etag is None or etag.startswith("W/"):
        mark.unlink(missing_ok=True)
    else:
        mark.write_text(etag, encoding="utf-8")
