"""The protocol buffers in a table of format V1.

Formats: ``saved_tensor_slice.proto`` in tensorflow/core/util, ``tensor.proto`` in
tensorflow/core/framework. Values are typed repeated fields, packed or one by
one, or the bytes of ``tensor_content``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from porting.sources.checkpoint.entries import parse_dtype, parse_shape
from porting.sources.checkpoint.slices import MAX_SLICES, Slice, describe, parse_slice
from porting.sources.checkpoint.values import stored_kind
from porting.sources.checkpoint.wire import Bytes, Malformed, fields, message, text

_CONTENT = 4
_FIELDS = {
    "float32": 5,
    "float64": 6,
    "int32": 7,
    "int16": 7,
    "uint16": 7,
    "int8": 7,
    "uint8": 7,
    "string": 8,
    "complex64": 9,
    "int64": 10,
    "bool": 11,
    "complex128": 12,
    "float16": 13,
    "bfloat16": 13,
    "uint32": 16,
    "uint64": 17,
}
"""Field of ``TensorProto`` that holds the values of a type."""

_FIXED = {
    "float32": "<f4",
    "float64": "<f8",
    "complex64": "<f4",
    "complex128": "<f8",
}
"""Types whose field holds plain numbers, and these; a complex is two. The others are varints."""

_PIECE = 1 << 17


@dataclass(frozen=True, slots=True)
class SavedTensor:
    """``SavedSliceMeta``: a tensor, and which slices of it a file holds."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    slices: tuple[Slice, ...]


def is_meta(data: Bytes) -> bool:
    """Whether the value of the empty key is a ``SavedTensorSliceMeta``."""
    try:
        return isinstance(dict(fields(data)).get(1), (bytes, memoryview))
    except Malformed:
        return False


def parse_meta(data: Bytes) -> Iterator[SavedTensor]:
    """Decode the value of the empty key: what the file holds.

    Raises:
        Malformed: it is no such message; a tensor is named where one is at fault.
    """
    for number, value in fields(message(dict(fields(data)).get(1, b""))):
        if number == 1:
            yield _parse_tensor(message(value))


def _parse_tensor(data: Bytes) -> SavedTensor:
    found: dict[int, int | Bytes] = {}
    slices: list[Slice] = []
    for number, value in fields(data):
        if number == 4:
            slices.append(parse_slice(message(value)))
        if len(slices) > MAX_SLICES:
            raise Malformed(f"over {MAX_SLICES:,} slices of one tensor")
        found[number] = value
    name = text(found.get(1, b""))
    try:
        dtype = parse_dtype(found.get(3, 0))
        shape = parse_shape(message(found.get(2, b"")))
    except Malformed as error:
        raise Malformed(f"tensor {name!r}: {error}") from error
    return SavedTensor(name, dtype, shape, tuple(slices))


def parse_values(
    data: Bytes, name: str, part: Slice, dtype: str, shape: tuple[int, ...]
) -> np.ndarray:
    """Decode a ``SavedTensorSlices`` that holds a slice of this name, type and shape.

    Raises:
        Malformed: it is no such message, holds another slice, or not as many
            values as the shape has.
    """
    found = dict(fields(message(dict(fields(data)).get(2, b""))))
    held = text(found.get(1, b"")), parse_slice(message(found.get(2, b"")))
    if held != (name, part):
        raise Malformed(f"it holds slice {describe(held[1])} of {held[0]!r}")
    values, count = message(found.get(3, b"")), math.prod(shape)
    flat = _strings(values, count) if dtype == "string" else _numbers(values, dtype, count)
    return flat.reshape(shape)


def _strings(data: Bytes, count: int) -> np.ndarray:
    whole = np.empty(count, object)
    place = 0
    for number, value in fields(data):
        if number == _FIELDS["string"]:
            if place < count:
                whole[place] = bytes(message(value))
            place += 1
    _check_count(place, count)
    return whole


def _numbers(data: Bytes, dtype: str, count: int) -> np.ndarray:
    # As the field's own numbers: a complex is two.
    kind = np.dtype(_FIXED.get(dtype, stored_kind(dtype)))
    each = stored_kind(dtype).itemsize // kind.itemsize
    if count > len(data):
        raise Malformed(f"it holds {len(data):,} bytes for {count:,} values")
    flat = np.empty(count * each, kind)
    place = 0
    for piece in _pieces(data, dtype, kind):
        if place + len(piece) <= len(flat):
            flat[place : place + len(piece)] = piece
        place += len(piece)
    _check_count(place, len(flat))
    return flat.view(stored_kind(dtype))


def _check_count(found: int, count: int) -> None:
    if found != count:
        raise Malformed(f"it holds {found:,} values, its slice has {count:,}")


def _pieces(data: Bytes, dtype: str, kind: np.dtype[np.generic]) -> Iterator[np.ndarray]:
    """The values of a ``TensorProto``, some at a time."""
    fixed = dtype in _FIXED
    for number, value in fields(data):
        if number not in (_CONTENT, _FIELDS[dtype]):
            continue
        if isinstance(value, int):
            wide = np.array([value], "<u8")
            yield wide.view(kind)[:1] if fixed else _narrowed(wide, kind)
        elif number == _CONTENT or fixed:
            if len(value) % kind.itemsize:
                raise Malformed(f"{len(value):,} bytes of values of {kind.itemsize} bytes each")
            yield np.frombuffer(value, kind)
        else:
            yield from (_narrowed(wide, kind) for wide in _varints(value))


def _varints(data: Bytes) -> Iterator[np.ndarray]:
    """Packed varints as uint64, decoded in pieces: the working memory is some times a piece."""
    start = 0
    while start < len(data):
        raw = np.frombuffer(data[start : start + _PIECE], np.uint8)
        ends = np.flatnonzero(raw < 0x80)
        begins = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        lengths = ends - begins + 1
        if not len(ends) or lengths.max() > 10:
            raise Malformed("a number does not end")
        values = np.zeros(len(ends), np.uint64)
        for place in range(int(lengths.max())):
            there = lengths > place
            bits = (raw[begins[there] + place] & 0x7F).astype(np.uint64)
            values[there] |= bits << np.uint64(7 * place)
        yield values
        start += int(ends[-1]) + 1


def _narrowed(wide: np.ndarray, kind: np.dtype[np.generic]) -> np.ndarray:
    """Varints in the type that they stand for; negative ones come with all 64 bits.

    Raises:
        Malformed: one does not fit.
    """
    if kind.kind in "iu" and kind.itemsize == 8:
        return wide.view(kind)
    signed = wide.view(np.int64)
    # A float16 is stored as its bits.
    narrow = signed.astype(f"<u{kind.itemsize}" if kind.kind == "f" else kind)
    if not np.array_equal(narrow.astype(np.int64), signed):
        at = int(np.argmax(narrow.astype(np.int64) != signed))
        raise Malformed(f"the value {signed[at]:,} does not fit {kind.name}")
    return narrow.view(kind)
