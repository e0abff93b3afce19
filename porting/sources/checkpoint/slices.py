"""Parts of a partitioned variable: their places, their keys, and whether they make a whole.

Formats: ``tensor_slice.proto`` in tensorflow/core/framework; the keys are
``EncodeTensorNameSlice`` of ``saved_tensor_slice_util.cc``, which writes in the
ordered code of ``tensorflow/core/lib/strings/ordered_code.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from porting.sources.checkpoint.wire import Bytes, Malformed, fields, integer, message

Slice = tuple[tuple[int, int], ...]
"""Start and length along each axis; :data:`FULL` where a slice takes the whole axis."""

FULL = (0, -1)
MAX_SLICES = 1 << 14
"""Most parts of one tensor; a bound on what a message of empty parts costs."""
_MAX_AXES = 8
"""Most axes of a slice; kernels have four."""
_END = 1 << 40


def parse_slice(data: Bytes) -> Slice:
    """Decode a ``TensorSliceProto``.

    Raises:
        Malformed: it is no such message, or has more axes than an array can.
    """
    extents = []
    for number, value in fields(data):
        if number == 1:
            found = dict(fields(message(value)))
            start, length = integer(found.get(1, 0)), integer(found.get(2, -1))
            if max(start, length) >= _END:
                raise Malformed(f"a slice of length {length} at {start}")
            extents.append((start, length))
        if len(extents) > _MAX_AXES:
            raise Malformed(f"a slice of over {_MAX_AXES} axes")
    return tuple(extents)


def describe(part: Slice) -> str:
    """A slice as Python writes it: ``[0:2, :]``."""
    sides = (":" if e == FULL else f"{e[0]}:{e[0] + e[1]}" for e in part)
    return f"[{', '.join(sides)}]"


def slice_shape(part: Slice, shape: Sequence[int]) -> tuple[int, ...]:
    """What a slice takes of a tensor of some shape.

    Raises:
        Malformed: it does not lie within that shape.
    """
    if len(part) == len(shape):
        lengths = [s if e == FULL else e[1] for e, s in zip(part, shape, strict=True)]
        ends = [e[0] + n for e, n in zip(part, lengths, strict=True)]
        if all(n >= 0 and end <= s for n, end, s in zip(lengths, ends, shape, strict=True)):
            return tuple(lengths)
    raise Malformed(f"slice {describe(part)} does not lie in shape {tuple(shape)}")


def region(part: Slice) -> tuple[slice, ...]:
    """A slice as an index of an array of the whole tensor's shape."""
    return tuple(slice(None) if e == FULL else slice(e[0], e[0] + e[1]) for e in part)


def check_tiling(parts: Sequence[Slice], shape: Sequence[int]) -> None:
    """Every element of the whole lies in exactly one part.

    Looked at on the grid that the parts' own edges span, so that a huge tensor
    in few parts costs nothing.

    Raises:
        Malformed: a part lies outside or overlaps another, or a place is in none.
    """
    spans = [_span(part, shape) for part in parts]
    grid = [
        {edge: i for i, edge in enumerate(sorted({0, side}.union(*(span[axis] for span in spans))))}
        for axis, side in enumerate(shape)
    ]
    filled = np.zeros([len(along) - 1 for along in grid], bool)
    for part, span in zip(parts, spans, strict=True):
        cells = tuple(slice(along[a], along[b]) for along, (a, b) in zip(grid, span, strict=True))
        if filled[cells].any():
            raise Malformed(f"slice {describe(part)} overlaps one before it")
        filled[cells] = True
    if not filled.all():
        cell = np.unravel_index(int(np.argmin(filled)), filled.shape)
        place = [list(along)[int(i)] for along, i in zip(grid, cell, strict=True)]
        raise Malformed(f"none of its {len(parts)} slices holds the element at {place}")


def _span(part: Slice, shape: Sequence[int]) -> list[tuple[int, int]]:
    """Start and end along each axis."""
    taken = slice_shape(part, shape)
    return [(start, start + side) for (start, _), side in zip(part, taken, strict=True)]


def slice_key(name: str, part: Slice) -> bytes:
    """The key under which a slice of a tensor is stored."""
    # The code escapes 0xff as well, which UTF-8 never holds.
    escaped = name.encode().replace(b"\0", b"\0\xff")
    key = _unsigned(0) + escaped + b"\0\1" + _unsigned(len(part))
    return key + b"".join(_signed(start) + _signed(length) for start, length in part)


def _unsigned(value: int) -> bytes:
    """A length byte, then the number, its highest byte first."""
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(raw)]) + raw


def _signed(value: int) -> bytes:
    """As many leading ones as bytes, then the number; all of it inverted where negative."""
    magnitude = ~value if value < 0 else value
    size = magnitude.bit_length() // 7 + 1
    # Ones for the bytes, and a zero where the sign goes: size 2 marks 110x xxxx.
    mark = ((1 << size) - 1) << (7 * size)
    code = (magnitude | mark).to_bytes(size, "big")
    return bytes(byte ^ 0xFF for byte in code) if value < 0 else code
