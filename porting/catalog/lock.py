"""Checksums of downloads as they were first seen.

Google publishes none, so the first download is taken on trust and recorded in
``catalog.lock.json`` beside the files. Whoever keeps that file notices when
something else comes under the same name later.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from porting.catalog.entry import CatalogEntry
from porting.errors import BadInput, BadSource
from porting.sha256 import sha256_of

LOCK = "catalog.lock.json"
_CHUNK = 1 << 20


class ChecksumMismatch(BadInput):
    """A file's bytes are not those that were first seen under its name."""


def check_first_seen(entry: CatalogEntry, path: Path) -> str:
    """Compare a file with its record, or make one; return its SHA-256.

    Raises:
        ChecksumMismatch: the record says otherwise.
        BadSource: there is no record yet, and the file is not whole.
        BadInput: the lock file cannot be read.
    """
    digest = check_recorded(path)
    lock = path.parent / LOCK
    records = _read(lock)
    if entry.file_name not in records:
        _check_whole(path)
        records[entry.file_name] = {
            "sha256": digest,
            "bytes": path.stat().st_size,
            "url": entry.url,
            "first_seen": datetime.now(UTC).date().isoformat(),
        }
        _write(lock, records)
    return digest


def _check_whole(path: Path) -> None:
    """See that an archive is not cut short, before its checksum is held against later ones."""
    from porting.sources.archive import is_archive

    if not is_archive(path):
        return
    try:
        with gzip.open(path) as archive:
            while archive.read(_CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise BadSource(
            f"{path}: damaged or cut short ({error}); delete it, and download it again"
        ) from error


def check_recorded(path: Path, content: Path | None = None) -> str:
    """Compare a file with what is recorded under its name, if anything; return its SHA-256.

    ``content`` holds the bytes where they are not in place yet.

    Raises:
        ChecksumMismatch: the record says otherwise.
        BadInput: the lock file cannot be read.
    """
    digest = sha256_of(content or path)
    lock = path.parent / LOCK
    known = _read(lock).get(path.name)
    if known is not None and known["sha256"] != digest:
        raise ChecksumMismatch(
            f"{path}: its sha256 is {digest}, on {known['first_seen']} it was {known['sha256']}; "
            f"delete it to download it again, or its entry in {lock} to accept what is there now"
        )
    return digest


def recorded_checksum(path: Path) -> str | None:
    """The SHA-256 that is recorded under a file's name, or None.

    Raises:
        BadInput: the lock file cannot be read.
    """
    known = _read(path.parent / LOCK).get(path.name)
    return None if known is None else str(known["sha256"])


def _read(lock: Path) -> dict[str, Any]:
    try:
        records = json.loads(lock.read_text(encoding="utf-8"))
        if all("sha256" in known and "first_seen" in known for known in records.values()):
            return dict(records)
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError, OSError):
        pass
    raise BadInput(f"{lock}: not a readable record of checksums; repair it or delete it")


def _write(lock: Path, records: dict[str, Any]) -> None:
    beside = lock.with_name(f".{lock.name}.{os.getpid()}")
    beside.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    beside.replace(lock)
