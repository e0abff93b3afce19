"""TFRecord files: examples of ``tf.train.Example``, framed with lengths and checksums.

Format: ``tensorflow/core/lib/io/record_writer.h``: the data's length (8 bytes),
the masked CRC32C of the length (4), the data, the masked CRC32C of the data (4);
``tensorflow/core/example/{example,feature}.proto`` for the data.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from porting.errors import BadExample, BadInput
from porting.sources.checkpoint.checksum import masked_crc32c
from porting.sources.checkpoint.wire import Bytes, fields, integer, message, varint
from porting.sources.mapped import mapped

HEAD, TAIL = 12, 4
"""Bytes before the data, and behind."""

_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Frame:
    """One record of a shard: the bytes ``offset`` to ``offset + size`` hold its data."""

    number: int
    offset: int
    size: int


def frames(path: Path) -> Iterator[tuple[Frame, Bytes]]:
    """The records of a shard, with a view of the data of each, which is read when touched.

    Raises:
        BadInput: the shard is cut short, or a length is damaged: no later record can be found.
    """
    data = mapped(path)
    if data and isinstance(data.obj, mmap.mmap):
        # Only labels are read, between images: reading ahead would read the whole file.
        data.obj.madvise(mmap.MADV_RANDOM)
    place = number = 0
    while place < len(data):
        where = f"{path}: record {number} at byte {place:,}"
        if place + HEAD > len(data):
            raise BadInput(f"{where} is cut short: its length has {HEAD} bytes")
        size, crc = _LENGTH.unpack_from(data, place)
        if masked_crc32c(data[place : place + 8]) != crc:
            raise BadInput(f"{where}: the checksum of its length is wrong{_way_out(data, number)}")
        end = place + HEAD + size + TAIL
        if end > len(data):
            raise BadInput(f"{where} is cut short: {size:,} bytes of data go past the file's end")
        yield Frame(number, place + HEAD, size), data[place + HEAD : place + HEAD + size]
        place, number = end, number + 1


def _way_out(data: Bytes, number: int) -> str:
    if number == 0 and bytes(data[:2]) == b"\x1f\x8b":
        return "; the shard is compressed: run gzip -d on it first"
    if number == 0:
        return "; it is no TFRecord file, or damaged"
    return "; the file is damaged from there on"


def begins_as_records(path: Path) -> bool:
    """Whether a file begins with a length and its checksum."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    return len(head) == HEAD and masked_crc32c(head[:8]) == _LENGTH.unpack(head)[1]


def sound(data: Bytes, path: Path, frame: Frame) -> Bytes:
    """The data of a record, if the four bytes at its end are their checksum.

    Raises:
        BadExample: they are not.
    """
    found, crc = data[: frame.size], _CRC.unpack(data[frame.size : frame.size + TAIL])[0]
    if masked_crc32c(found) != crc:
        raise BadExample(
            f"{path}: record {frame.number} at byte {frame.offset - HEAD:,}: the checksum of its "
            "data is wrong: the record is damaged"
        )
    return found


def features(data: Bytes, wanted: frozenset[bytes]) -> dict[bytes, Bytes]:
    """The features of a ``tf.train.Example`` by name, as messages, the wanted ones alone.

    Raises:
        Malformed: it is no such message.
    """
    found = {}
    for number, value in fields(data):
        if number != 1:
            continue
        for kind, entry in fields(message(value)):
            if kind == 1:
                key, feature = _entry(message(entry))
                if key in wanted:
                    found[key] = feature
    return found


def _entry(entry: Bytes) -> tuple[bytes, Bytes]:
    key, feature = b"", memoryview(b"")
    for number, value in fields(entry):
        if number == 1:
            key = bytes(message(value))
        elif number == 2:
            feature = memoryview(message(value))
    return key, feature


def byte_strings(feature: Bytes) -> list[Bytes]:
    """The values of a feature that is a list of byte strings.

    Raises:
        Malformed: it is no such message.
    """
    lists = [message(value) for number, value in fields(feature) if number == 1]
    return [message(value) for each in lists for number, value in fields(each) if number == 1]


def integers(feature: Bytes) -> list[int]:
    """The values of a feature that is a list of whole numbers, packed or not.

    Raises:
        Malformed: it is no such message.
    """
    found: list[int] = []
    for each in (message(value) for number, value in fields(feature) if number == 3):
        for number, value in fields(each):
            if number == 1:
                found += [integer(value)] if isinstance(value, int) else _packed(value)
    return [value - (1 << 64) if value >> 63 else value for value in found]


def _packed(data: Bytes) -> Iterator[int]:
    place = 0
    while place < len(data):
        value, place = varint(data, place)
        yield value
