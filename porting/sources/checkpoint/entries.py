"""The protocol buffers in the index of a bundle.

Formats: ``tensor_bundle.proto``, ``tensor_shape.proto``, ``types.proto`` in
tensorflow/core. Only what is needed is decoded; unknown fields are passed over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from porting.sources.checkpoint.slices import MAX_SLICES, Slice, parse_slice
from porting.sources.checkpoint.wire import Bytes, Malformed, fields, integer, message

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

_MAX_RANK = 32
_MAX_ELEMENTS = 1 << 58
"""Most axes and elements of a NumPy array."""


@dataclass(frozen=True, slots=True)
class Header:
    """``BundleHeaderProto``."""

    shards: int
    big_endian: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """``BundleEntryProto``: where a tensor lies.

    One with ``slices`` has no bytes of its own; each of its slices has an
    entry under its own key.
    """

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple[Slice, ...]

    @property
    def expected_size(self) -> int | None:
        """Bytes that shape and type ask for, None where the type has no fixed size."""
        width = SIZES.get(self.dtype)
        return None if width is None else width * math.prod(self.shape)


def parse_header(data: Bytes) -> Header:
    """Decode the value of the empty key.

    Raises:
        Malformed: it is no such message.
    """
    found = dict(fields(data))
    return Header(integer(found.get(1, 0)), integer(found.get(2, 0)) == 1)


def parse_entry(data: Bytes) -> Entry:
    """Decode one tensor's entry.

    Raises:
        Malformed: it is no such message, or its numbers make no sense.
    """
    found: dict[int, int | Bytes] = {}
    slices: list[Slice] = []
    for number, value in fields(data):
        if number == 7:
            slices.append(parse_slice(message(value)))
        if len(slices) > MAX_SLICES:
            raise Malformed(f"over {MAX_SLICES:,} slices")
        found[number] = value
    shape = parse_shape(message(found.get(2, b"")))
    shard, offset, size, crc = (integer(found.get(number, 0)) for number in (3, 4, 5, 6))
    if max(shard, offset, size) >= 1 << 63:
        raise Malformed("a negative shard, offset or size")
    return Entry(parse_dtype(found.get(1, 0)), shape, shard, offset, size, crc, tuple(slices))


def parse_dtype(value: int | Bytes) -> str:
    """The name of a type code.

    Raises:
        Malformed: no type has it.
    """
    code = integer(value)
    if code not in DTYPES:
        raise Malformed(f"unknown type code {code}")
    return DTYPES[code]


def parse_shape(data: Bytes) -> tuple[int, ...]:
    """Decode a ``TensorShapeProto``.

    Raises:
        Malformed: it is no such message, or no array can have that shape.
    """
    sides: list[int] = []
    for number, value in fields(data):
        if number == 2:
            side = integer(dict(fields(message(value))).get(1, 0))
            if side >= 1 << 40:
                raise Malformed(f"a side of {side:,}")
            sides.append(side)
        elif number == 3 and value:
            raise Malformed("a shape of unknown rank")
        if len(sides) > _MAX_RANK:
            raise Malformed(f"a shape of over {_MAX_RANK} axes")
    # NumPy refuses such shapes even where another side is 0.
    if math.prod(side for side in sides if side) >= _MAX_ELEMENTS:
        raise Malformed(f"the shape {tuple(sides)}, which no memory holds")
    return tuple(sides)
