"""Zip archives from elsewhere: bounded in size before they are opened and as they are unpacked."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from porting.errors import BadSource, UnsupportedSource

DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError)
"""What zipfile raises over a damaged archive."""

ZIP_MAGIC = b"PK\x03\x04"

_LARGEST_DIRECTORY = 1 << 20
"""Bytes; zipfile takes about ten times as much memory. Archives of models have three entries."""
_END, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x07"
_END_SIZE, _LOCATOR_SIZE, _LONGEST_COMMENT = 22, 20, 0xFFFF
_ENCRYPTION_FLAG = 1
_CHUNK = 1 << 20


def open_zip(file: Path, path: Path | None = None) -> zipfile.ZipFile:
    """Open an archive, which may stand behind other data, for :func:`copy_member`.

    ``path`` is what messages call it where that is not ``file``.

    Raises:
        BadSource: it is damaged, or a member's name leads out of the archive.
        UnsupportedSource: it has more members than an archive of a model.
    """
    path = path or file
    try:
        # zipfile reads the whole directory, so its size is looked up first.
        with file.open("rb") as stream:
            size = file.stat().st_size
            stream.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT - _LOCATOR_SIZE))
            tail = stream.read()
        end = tail.rfind(_END)
        if end < 0 or end + _END_SIZE > len(tail):
            raise BadSource(f"{path}: not a sound zip archive: cut short, its directory is missing")
        (directory,) = struct.unpack_from("<I", tail, end + 12)
        locator = tail[max(0, end - _LOCATOR_SIZE) : end]
        if directory > _LARGEST_DIRECTORY or locator.startswith(_LOCATOR_64):
            raise UnsupportedSource(
                f"{path}: a zip archive with more members or bytes than a mobile network's has"
            )
        archive = zipfile.ZipFile(file)
    except DAMAGE as error:
        raise BadSource(f"{path}: not a sound zip archive: {error}") from error
    for member in archive.infolist():
        name = PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts:
            archive.close()
            raise BadSource(f"{path}: its member {member.filename!r} leads out of the archive")
    return archive


def copy_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, out: IO[bytes], limit: int, path: Path
) -> None:
    """Unpack one member of the archive ``path`` into ``out``, at most ``limit`` bytes.

    Raises:
        BadSource: it is damaged, larger than ``limit``, or not of the size that it states.
        UnsupportedSource: it is encrypted or packed by an unusual method.
    """
    name, size = member.filename, member.file_size
    packings = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if member.flag_bits & _ENCRYPTION_FLAG or member.compress_type not in packings:
        raise UnsupportedSource(
            f"{path}: its member {name} is encrypted or neither stored nor deflated"
        )
    if size > limit:
        raise BadSource(
            f"{path}: its member {name} unpacks to {size:,} bytes; up to {limit:,} are read"
        )
    # zipfile would cut what it unpacks at the size that the directory states.
    member.file_size = size + _CHUNK
    count = 0
    try:
        with archive.open(member) as stream:
            while count <= size and (chunk := stream.read(min(_CHUNK, size + 1 - count))):
                out.write(chunk)
                count += len(chunk)
    except DAMAGE as error:
        raise BadSource(f"{path}: not a sound zip archive: {error}") from error
    if count != size:
        raise BadSource(
            f"{path}: its member {name} does not unpack to {size:,} bytes, as it states"
        )
