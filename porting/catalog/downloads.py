"""Downloads of published sources: resumed, whole or absent, and of the checksum first seen.

Google publishes no checksums, so the first download is taken on trust and recorded in
``catalog.lock.json`` beside the files. A user who keeps that file notices when
something else comes under the same name later.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from porting.catalog.published import STORAGE, CatalogEntry
from porting.errors import BadInput, BadSource, OutputError
from porting.sha256 import sha256_of

LOCK = "catalog.lock.json"

ATTEMPTS = 3
"""Connections that one download may take."""

_PART, _ETAG, _MISMATCH = ".part", ".etag", ".refused"
NOT_SOURCES = (_PART, _ETAG, _MISMATCH, ".json")
"""Endings of files beside downloads: unfinished, its version, of another checksum, the lock."""

FIRST_BYTES = {".tgz": b"\x1f\x8b", ".h5": b"\x89HDF\r\n\x1a\n"}
"""Ending of a published file -> its first bytes: gzip's, HDF5's."""

MOST_BYTES = 1 << 30
"""Most bytes of a download, and of what it unpacks to; published files take under 200 MiB."""

_TIMEOUT = (10, 60)
"""Seconds to connect, and between two packets."""
_CHUNK = 1 << 16  # what a broken connection costs at most
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Progress = Callable[[int, int], None]
"""Called with the bytes received and the bytes in all."""


class DownloadFailed(BadInput):
    """A published source cannot be downloaded: no network, or the server refuses."""


class ChecksumMismatch(BadInput):
    """A file's bytes are not those that were first seen under its name."""


class _Interrupted(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class Download:
    """A published source on this machine, with its SHA-256 in hexadecimal."""

    path: Path
    sha256: str


def fetch(
    entry: CatalogEntry, folder: Path, mirror: str | None = None, progress: Progress | None = None
) -> Download:
    """The entry's file in ``folder``, downloaded if it is not there.

    An interrupted download is resumed if the server still has the same file.
    ``mirror`` replaces ``https://storage.googleapis.com``.

    Raises:
        DownloadFailed: the file cannot be downloaded; what was received is kept for the next time.
        ChecksumMismatch: its bytes are not those first seen under this name; they are
            kept apart, as ``.refused``, and never used.
        OutputError: the folder cannot be written to.
    """
    url = entry.url
    if mirror is not None:
        url = f"{mirror.rstrip('/')}/{url.removeprefix(STORAGE)}"
    target = folder / entry.file_name
    part = target.with_name(f"{target.name}{_PART}")
    etag = target.with_name(f"{part.name}{_ETAG}")
    try:
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    _download_rest(url, part, etag, progress)
                    break
                except _Interrupted as error:
                    if attempt == ATTEMPTS:
                        raise DownloadFailed(
                            f"{url}: interrupted {ATTEMPTS} times ({error}); {part.name} is kept, "
                            "and the same command resumes from there"
                        ) from error
            etag.unlink(missing_ok=True)
            _accept(part, target)
        return Download(target, check_first_seen(entry, target))
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error


def _download_rest(url: str, part: Path, etag: Path, progress: Progress | None) -> None:
    """Request what is missing of ``part``, or the whole file where nothing can be resumed.

    ``etag`` keeps the server's name of the version that ``part`` is of.
    """
    import requests

    present = part.stat().st_size if part.is_file() and etag.is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if present:
        headers |= {"Range": f"bytes={present}-", "If-Range": etag.read_text(encoding="utf-8")}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink(missing_ok=True)
                raise _Interrupted(f"{part.name} did not fit the file")
            if not response.ok:
                raise DownloadFailed(f"{url}: the server answers {response.status_code}")
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise DownloadFailed(f"{url}: the server sends it encoded as {encoding!r}, unasked")
            _append(response, part, etag, present, progress)
    except requests.exceptions.ChunkedEncodingError as error:
        raise _Interrupted("the connection was closed early") from error
    except requests.ConnectionError as error:
        if part.is_file() and part.stat().st_size > present:
            raise _Interrupted("the connection was lost") from error
        raise DownloadFailed(f"{url}: cannot be reached") from error
    except requests.RequestException as error:
        raise DownloadFailed(f"{url}: cannot be downloaded: {error}") from error


def _append(response: Any, part: Path, etag: Path, present: int, progress: Progress | None) -> None:
    """Write a response to ``part``, of which the first ``present`` bytes are there already."""
    content_range = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    start = int(content_range[1]) if response.status_code == 206 and content_range else 0
    if start > present:
        raise _Interrupted("the server left out bytes")
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    if content_range and content_range[2] != "*":
        total = int(content_range[2])
    with part.open("r+b" if start else "wb") as out:
        version = response.headers.get("ETag")
        # A weak or missing ETag disables resuming.
        if version is None or version.startswith("W/"):
            etag.unlink(missing_ok=True)
        else:
            etag.write_text(version, encoding="utf-8")
        out.truncate(start)
        out.seek(start)
        for chunk in response.iter_content(_CHUNK):
            if out.tell() + len(chunk) > MOST_BYTES:
                out.truncate(0)
                raise DownloadFailed(
                    f"{part.name}: the server sends over {MOST_BYTES >> 20:,} MiB, which no "
                    "published file has"
                )
            out.write(chunk)
            if progress is not None and total is not None:
                progress(out.tell(), total)
        out.flush()
        os.fsync(out.fileno())
        if total is not None and out.tell() != total:
            raise _Interrupted(f"{out.tell():,} of {total:,} bytes received")


def _accept(part: Path, target: Path) -> None:
    """Rename a complete download if it is of its format and of the checksum first seen."""
    magic = FIRST_BYTES[target.suffix]
    with part.open("rb") as stream:
        head = stream.read(len(magic))
    if head != magic:
        part.unlink()
        raise DownloadFailed(
            f"{target.name}: what the server sent is not a {target.suffix} file: it begins {head!r}"
        )
    try:
        check_recorded(target, part)
    except ChecksumMismatch as error:
        kept_as = part.replace(target.with_name(f"{target.name}{_MISMATCH}"))
        raise ChecksumMismatch(
            f"{error}. The download is kept as {kept_as}, and not used"
        ) from error
    try:
        _check_whole(part, target)
    except BadSource as error:
        part.unlink()
        raise DownloadFailed(f"{error}; the server, or a proxy before it, cut it short") from error
    part.replace(target)


def _check_whole(content: Path, name: Path) -> None:
    """Check that a file has its format's end.

    Raises:
        BadSource: it is cut short or damaged.
    """
    if name.suffix == ".tgz":
        total = 0
        try:
            with gzip.open(content) as archive:
                while chunk := archive.read(1 << 20):
                    total += len(chunk)
                    if total > MOST_BYTES:
                        raise BadSource(f"{name}: unpacks to over {MOST_BYTES >> 20:,} MiB")
        except (OSError, EOFError, zlib.error) as error:
            raise BadSource(f"{name}: damaged or cut short ({error})") from error
    elif name.suffix == ".h5":
        with content.open("rb") as stream:
            head = stream.read(56)
        # Version 0's superblock: two addresses of 8 bytes each, then that of the file's end.
        # Source: HDF5 File Format Specification 3.0, II.A.
        if len(head) == 56 and head[8] == 0 and head[13] == 8:
            end = int.from_bytes(head[40:48], "little")
            if content.stat().st_size < end:
                raise BadSource(f"{name}: cut short: {content.stat().st_size:,} of {end:,} bytes")


def check_first_seen(entry: CatalogEntry, path: Path) -> str:
    """Compare a file's checksum with its record, or make one; return its SHA-256.

    Raises:
        ChecksumMismatch: the record says otherwise.
        BadSource: there is no record yet, and the file is an archive that is cut short.
        BadInput: the lock file cannot be read.
    """
    digest = check_recorded(path)
    lock = path.parent / LOCK
    records = _read(lock)
    if entry.file_name not in records:
        try:
            _check_whole(path, path)
        except BadSource as error:
            raise BadSource(f"{error}; delete it, and download it again") from error
        records[entry.file_name] = {
            "sha256": digest,
            "bytes": path.stat().st_size,
            "url": entry.url,
            "first_seen": datetime.now(UTC).date().isoformat(),
        }
        beside = lock.with_name(f".{lock.name}.{os.getpid()}")
        beside.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        beside.replace(lock)
    return digest


def check_recorded(path: Path, content: Path | None = None) -> str:
    """Compare a file with the checksum recorded under its name, if any; return its SHA-256.

    ``content`` holds the bytes where they are not in place yet.

    Raises:
        ChecksumMismatch: the record says otherwise.
        BadInput: the lock file cannot be read.
    """
    digest = sha256_of(content or path)
    lock = path.parent / LOCK
    record = _read(lock).get(path.name)
    if record is not None and record["sha256"] != digest:
        raise ChecksumMismatch(
            f"{path}: its sha256 is {digest}, on {record['first_seen']} it was {record['sha256']}; "
            f"delete it to download it again, or its entry in {lock} to accept what is there now"
        )
    return digest


def recorded_checksum(path: Path) -> str | None:
    """The SHA-256 that is recorded under a file's name, or None.

    Raises:
        BadInput: the lock file cannot be read.
    """
    record = _read(path.parent / LOCK).get(path.name)
    return None if record is None else str(record["sha256"])


def _read(lock: Path) -> dict[str, Any]:
    try:
        records = json.loads(lock.read_text(encoding="utf-8"))
        if all("sha256" in record and "first_seen" in record for record in records.values()):
            return dict(records)
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError, OSError):
        pass
    raise BadInput(f"{lock}: not a readable record of checksums; repair it or delete it")
