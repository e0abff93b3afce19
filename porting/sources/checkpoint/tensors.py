"""What both checkpoint formats share: how tensors are read, and slices of partitioned variables.

Formats: ``tensor_slice.proto`` and ``tensor_shape.proto`` in tensorflow/core/framework; the keys
of slices are ``EncodeTensorNameSlice`` of ``saved_tensor_slice_util.cc``, which writes in the
ordered code of ``tensorflow/core/lib/strings/ordered_code.cc``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from porting.sources.protobuf import Bytes, Malformed, fields, integer, message
from porting.sources.source import TensorInfo
from porting.sources.tensor_proto import NUMBERS, parse_shape, read_type

Slice = tuple[tuple[int, int], ...]
"""Start and length along each axis; :data:`FULL` where a slice spans the whole axis."""

FULL = (0, -1)
MAX_SLICES = 1 << 14
"""Most slices of one tensor; a bound on the memory that a message of empty slices takes."""
MAX_STRINGS = 1 << 18
"""Most strings of one tensor that are read: each takes far more in memory than in a file."""
_MAX_SLICE_AXES = 8
"""Most axes of a slice; kernels have four."""
_MAX_SIDE = 1 << 40
_MAX_ELEMENTS = 1 << 58
"""Most elements of a NumPy array."""


def info_of(name: str, shape: tuple[int, ...], dtype: str) -> TensorInfo:
    """Describe a stored tensor as it will be read: bfloat16 as float32, strings as objects."""
    return TensorInfo(name, shape, "object" if dtype == "string" else read_type(dtype), dtype)


def is_read(dtype: str) -> bool:
    """Whether tensors of a type can be read at all: resources and variants cannot."""
    return dtype in NUMBERS or dtype == "string"


def parse_stored_shape(data: Bytes) -> tuple[int, ...]:
    """Decode the ``TensorShapeProto`` of a stored tensor.

    Raises:
        Malformed: it is not such a message, or no array can have that shape.
    """
    shape = parse_shape(data)
    if shape is None:
        raise Malformed("a shape of unknown rank")
    if any(not 0 <= side < _MAX_SIDE for side in shape):
        raise Malformed(f"a side of {next(s for s in shape if not 0 <= s < _MAX_SIDE):,}")
    # NumPy refuses such shapes even where another side is 0.
    if math.prod(side for side in shape if side) >= _MAX_ELEMENTS:
        raise Malformed(f"the shape {shape}, which does not fit in memory")
    return shape


def parse_slice(data: Bytes) -> Slice:
    """Decode a ``TensorSliceProto``.

    Raises:
        Malformed: it is not such a message, or has more axes than a kernel can.
    """
    extents = []
    for number, value in fields(data):
        if number == 1:
            extent = dict(fields(message(value)))
            start, length = integer(extent.get(1, 0)), integer(extent.get(2, -1))
            if max(start, length) >= _MAX_SIDE:
                raise Malformed(f"a slice of length {length} at {start}")
            extents.append((start, length))
        if len(extents) > _MAX_SLICE_AXES:
            raise Malformed(f"a slice of over {_MAX_SLICE_AXES} axes")
    return tuple(extents)


def describe(part: Slice) -> str:
    """A slice as Python writes it: ``[0:2, :]``."""
    sides = (":" if e == FULL else f"{e[0]}:{e[0] + e[1]}" for e in part)
    return f"[{', '.join(sides)}]"


def slice_shape(part: Slice, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a slice of a tensor of some shape.

    Raises:
        Malformed: the slice does not lie within that shape.
    """
    if len(part) == len(shape):
        lengths = [s if e == FULL else e[1] for e, s in zip(part, shape, strict=True)]
        ends = [e[0] + n for e, n in zip(part, lengths, strict=True)]
        if all(n >= 0 and end <= s for n, end, s in zip(lengths, ends, shape, strict=True)):
            return tuple(lengths)
    raise Malformed(f"slice {describe(part)} does not lie in shape {tuple(shape)}")


def slice_index(part: Slice) -> tuple[slice, ...]:
    """The index of a slice in an array of the whole tensor."""
    return tuple(slice(None) if e == FULL else slice(e[0], e[0] + e[1]) for e in part)


def check_tiling(parts: Sequence[Slice], shape: Sequence[int]) -> None:
    """Check that every element of a tensor lies in exactly one of its slices.

    The check runs on the grid that the slices' own edges span, so that a huge tensor
    in few slices takes no time.

    Raises:
        Malformed: a slice lies outside or overlaps another, or an element is in none.
    """
    spans = [
        [
            (start, start + side)
            for (start, _), side in zip(part, slice_shape(part, shape), strict=True)
        ]
        for part in parts
    ]  # start and end along each axis
    grid = [
        {edge: i for i, edge in enumerate(sorted({0, side}.union(*(span[axis] for span in spans))))}
        for axis, side in enumerate(shape)
    ]
    is_covered = np.zeros([len(along) - 1 for along in grid], bool)
    for part, span in zip(parts, spans, strict=True):
        cells = tuple(slice(along[a], along[b]) for along, (a, b) in zip(grid, span, strict=True))
        if is_covered[cells].any():
            raise Malformed(f"slice {describe(part)} overlaps one before it")
        is_covered[cells] = True
    if not is_covered.all():
        cell = np.unravel_index(int(np.argmin(is_covered)), is_covered.shape)
        place = [list(along)[int(i)] for along, i in zip(grid, cell, strict=True)]
        raise Malformed(f"none of its {len(parts)} slices holds the element at {place}")


def slice_key(name: str, part: Slice) -> bytes:
    """The key under which a slice of a tensor is stored."""
    # The code escapes 0xff as well, which UTF-8 never holds.
    escaped_name = name.encode().replace(b"\0", b"\0\xff")
    key = _ordered_unsigned(0) + escaped_name + b"\0\1" + _ordered_unsigned(len(part))
    return key + b"".join(_ordered_signed(n) for extent in part for n in extent)


def _ordered_unsigned(value: int) -> bytes:
    """A length byte, then the number, its highest byte first."""
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(raw)]) + raw


def _ordered_signed(value: int) -> bytes:
    """As many leading ones as bytes, then the number; all bits are inverted where negative."""
    magnitude = ~value if value < 0 else value
    size = magnitude.bit_length() // 7 + 1
    # Ones for the bytes, and a zero where the sign goes: size 2 marks 110x xxxx.
    mark = ((1 << size) - 1) << (7 * size)
    code = (magnitude | mark).to_bytes(size, "big")
    return bytes(byte ^ 0xFF for byte in code) if value < 0 else code
