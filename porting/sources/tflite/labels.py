"""Class labels that ride in a TFLite file: text files in a zip archive behind the flatbuffer.

The archive may come with metadata, a flatbuffer of its own in a buffer of the
model, that say which of its files belongs to which output; older files have
the archive alone.

Format: ``metadata_schema.fbs`` (schema version 1.5.0) of TensorFlow Lite Support.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from porting.errors import BadSource, UnsupportedSource
from porting.sources.tflite.flatbuffer import Flatbuffer, Table

_AXIS_LABELS = 2
"""``AssociatedFileType.TENSOR_AXIS_LABELS``."""

MEMBER_LIMIT = 8 << 20
"""Most bytes that the labels may unpack to; the 21,843 of ImageNet-21k take under 1 MiB."""

MEMBERS = 1000
"""Most files in the archive; published models have one or two."""

_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error,
           RuntimeError)  # fmt: skip
"""What zipfile raises over a damaged archive."""


def labels_of(
    data: memoryview, metadata: tuple[int, int] | None, path: Path
) -> tuple[str, ...] | None:
    """The labels in the file ``data``, one a class, or None where it holds none.

    Taken is the file that ``metadata`` (start, size) name as the labels of an
    output's axis; where they name none or several, the one with the most lines.

    Raises:
        BadSource: metadata or archive are damaged, or a file in it is not what it claims.
        UnsupportedSource: the labels are encrypted, or packed by an unusual method.
    """
    named = _named_by(data, metadata, path)
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                return None
            _check_count(data, path)
            with zipfile.ZipFile(stream) as archive:
                found = [_lines(archive, info, path) for info in _candidates(archive, named, path)]
    except _DAMAGE as error:
        raise BadSource(f"{path}: the archive behind the model is damaged: {error}") from error
    return max(found, key=len, default=None)


def _named_by(data: memoryview, metadata: tuple[int, int] | None, path: Path) -> set[str]:
    """The files that the metadata associate with an output."""
    if metadata is None or not metadata[1]:
        return set()
    start, size = metadata
    root = Flatbuffer(data[start : start + size], path).root()
    outputs = [
        output
        for graph in root.tables(3, "subgraph metadata")
        for output in graph.tables(3, "output metadata")
    ]
    return {name for output in outputs for name in _axis_labels(output)}


def _axis_labels(output: Table) -> Iterator[str]:
    for entry in output.tables(6, "associated files"):
        name = entry.text(0, "associated file name")
        if entry.scalar(2, "b") == _AXIS_LABELS:
            yield name


def _check_count(data: memoryview, path: Path) -> None:
    # Opening an archive reads its whole directory: count the entries before that.
    for count, _ in enumerate(re.finditer(rb"PK\x01\x02", data), start=1):
        if count > MEMBERS:
            raise BadSource(f"{path}: over {MEMBERS:,} files in the archive behind the model")


def _candidates(archive: zipfile.ZipFile, named: set[str], path: Path) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    for info in members:
        name = PurePosixPath(info.filename)
        if name.is_absolute() or ".." in name.parts:
            raise BadSource(f"{path}: the archive behind the model reaches outside: {name}")
    chosen = [info for info in members if info.filename in named]
    chosen = chosen or [info for info in members if info.filename.endswith(".txt")]
    if sum(info.file_size for info in chosen) > MEMBER_LIMIT:
        names = ", ".join(info.filename for info in chosen)
        raise BadSource(f"{path}: labels of over {MEMBER_LIMIT >> 20} MiB: {names}")
    return chosen


def _lines(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> tuple[str, ...]:
    """One text file by lines, without the empty ones at its end."""
    name, stated = info.filename, info.file_size
    if info.flag_bits & _ENCRYPTED or info.compress_type not in _READ:
        raise UnsupportedSource(f"{path}: the labels {name} are packed in a way that is not read")
    # zipfile would cut what it unpacks at the size that the entry states.
    info.file_size = 2 * MEMBER_LIMIT
    with archive.open(info) as stream:
        raw = stream.read(stated + 1)
    if len(raw) != stated:
        raise BadSource(f"{path}: the labels {name} do not unpack to {stated:,} bytes, as stated")
    try:
        lines = [line.strip() for line in raw.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise BadSource(f"{path}: the labels {name} are not UTF-8 text") from None
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)
