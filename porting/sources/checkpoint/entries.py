"""The protocol buffers in a checkpoint's index.

Formats: ``tensor_bundle.proto``, ``tensor_shape.proto``, ``types.proto`` in
tensorflow/core. Only what is needed is decoded; unknown fields are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from porting.sources.extent import MOST_SIDES, elements

DTYPES: dict[int, str] = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
}
"""``DataType`` in tensorflow/core/framework/types.proto."""

SIZES: dict[str, int] = {
    "float32": 4,
    "float64": 8,
    "int32": 4,
    "uint8": 1,
    "int16": 2,
    "int8": 1,
    "int64": 8,
    "bool": 1,
    "bfloat16": 2,
    "uint16": 2,
    "float16": 2,
    "uint32": 4,
    "uint64": 8,
    "complex64": 8,
    "complex128": 16,
}
"""Bytes an element; types that are not listed are not read as numbers."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


class Malformed(ValueError):
    """Bytes that are no such message; the caller knows file and place."""


@dataclass(frozen=True)
class Header:
    """``BundleHeaderProto``."""

    shards: int
    big_endian: bool


@dataclass(frozen=True)
class Entry:
    """``BundleEntryProto``: where a tensor lies. ``slices`` counts the parts it is kept in."""

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: int

    @property
    def expected_size(self) -> int | None:
        """Bytes that shape and type ask for, None where the type has no fixed size."""
        width = SIZES.get(self.dtype)
        return None if width is None else width * elements(self.shape)


def parse_header(data: bytes) -> Header:
    """Decode the value of the empty key.

    Raises:
        Malformed: it is no such message.
    """
    fields = dict(_fields(data))
    return Header(_integer(fields.get(1, 0)), _integer(fields.get(2, 0)) == 1)


def parse_entry(data: bytes) -> Entry:
    """Decode one tensor's entry.

    Raises:
        Malformed: it is no such message, or its numbers make no sense.
    """
    fields: dict[int, int | bytes] = {}
    slices = 0
    for number, value in _fields(data):
        slices += number == 7
        fields[number] = value
    code = _integer(fields.get(1, 0))
    if code not in DTYPES:
        raise Malformed(f"unknown type code {code}")
    shape = _shape(_raw(fields.get(2, b"")))
    shard, offset, size, crc = (_integer(fields.get(number, 0)) for number in (3, 4, 5, 6))
    if max(shard, offset, size) >= 1 << 63:
        raise Malformed("a negative shard, offset or size")
    return Entry(DTYPES[code], shape, shard, offset, size, crc, slices)


def _shape(data: bytes) -> tuple[int, ...]:
    sides = []
    for number, value in _fields(data):
        if number == 2:
            side = _integer(dict(_fields(_raw(value))).get(1, 0))
            if side >= 1 << 40:
                raise Malformed(f"a side of {side:,}")
            sides.append(side)
            if len(sides) > MOST_SIDES:
                raise Malformed(f"a shape of over {MOST_SIDES} sides")
        elif number == 3 and value:
            raise Malformed("a shape of unknown rank")
    return tuple(sides)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values: integers, or bytes for nested messages."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        length = _WIDTHS.get(kind)
        if kind == _BYTES:
            length, place = _varint(data, place)
        if length is None or place + length > len(data):
            raise Malformed(f"field {number} of kind {kind} does not fit")
        chunk = data[place : place + length]
        place += length
        yield number, chunk if kind == _BYTES else int.from_bytes(chunk, "little")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        if place + count >= len(data):
            break
        byte = data[place + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    raise Malformed("a number does not end")


def _integer(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise Malformed("a message where a number belongs")
    return value


def _raw(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise Malformed("a number where a message belongs")
    return value
