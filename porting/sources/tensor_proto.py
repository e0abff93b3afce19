"""TensorFlow's messages of tensors: their types, shapes and values.

Formats: ``types.proto``, ``tensor_shape.proto`` and ``tensor.proto`` in tensorflow/core/framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from porting.sources.memory import MOST_SIDES_READ
from porting.sources.protobuf import Bytes, Malformed, fields, integer, message, signed

Shape = tuple[int, ...] | None
"""Sides, -1 for one that is left open; None where not even their number is known."""

DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string",
    8: "complex64", 9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128",
    19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64",
}  # fmt: skip
"""Codes of ``DataType``."""

NUMBERS = frozenset(DTYPES.values()) - {"string", "resource", "variant"}
"""Types whose values are numbers of a fixed size."""

_TENSOR_CONTENT = 4
_VALUE_FIELDS = {
    "float32": 5, "float64": 6, "int32": 7, "int16": 7, "uint16": 7, "int8": 7, "uint8": 7,
    "string": 8, "complex64": 9, "int64": 10, "bool": 11, "complex128": 12, "float16": 13,
    "bfloat16": 13, "uint32": 16, "uint64": 17,
}  # fmt: skip
"""Type -> the field of ``TensorProto`` that holds its values, where ``tensor_content`` does not."""

_FIXED_WIDTH = {"float32": "<f4", "float64": "<f8", "complex64": "<f4", "complex128": "<f8"}
"""Types whose field holds numbers of a fixed width, and these; a complex number is two of them.
The fields of all other types hold varints."""

_VARINT_CHUNK = 1 << 17


def parse_dtype(value: int | Bytes) -> str:
    """The name of a type code.

    Raises:
        Malformed: no type has it.
    """
    code = integer(value)
    if code not in DTYPES:
        raise Malformed(f"unknown type code {code}")
    return DTYPES[code]


def parse_shape(data: Bytes) -> Shape:
    """Decode a ``TensorShapeProto``.

    Raises:
        Malformed: it is not such a message, or has more sides than are read.
    """
    sides: list[int] = []
    for number, value in fields(data):
        if number == 2:
            sides.append(signed(integer(dict(fields(message(value))).get(1, 0))))
        elif number == 3 and value:
            return None
        if len(sides) > MOST_SIDES_READ:
            raise Malformed(f"a shape of over {MOST_SIDES_READ} axes")
    if any(side < -1 for side in sides):
        raise Malformed(f"a shape {tuple(sides)}")
    return tuple(sides)


def stored_dtype(dtype: str) -> np.dtype[np.generic]:
    """The NumPy type of the stored values; that of bfloat16 is its sixteen bits."""
    if dtype == "string":
        return np.dtype(object)
    return np.dtype("<u2" if dtype == "bfloat16" else dtype).newbyteorder("<")


def read_type(dtype: str) -> str:
    """The type as which values are read: bfloat16 as float32."""
    return "float32" if dtype == "bfloat16" else dtype


def empty_array(dtype: str, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """An array for the stored values of a tensor, and the same memory as values of its type.

    The two are one array except for bfloat16, which is the upper half of a float32.
    """
    if dtype == "bfloat16":
        halves = np.zeros((*shape, 2), "<u2")
        return halves[..., 1], halves.view("<f4")[..., 0]
    array = np.empty(shape, stored_dtype(dtype))
    return array, array


def as_values(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Stored values as values of their type: bfloat16 as float32, all others unchanged."""
    if dtype != "bfloat16":
        return stored
    target, values = empty_array(dtype, stored.shape)
    target[...] = stored
    return values


def string_values(data: Bytes) -> Iterator[bytes]:
    """The elements of a ``TensorProto`` of strings."""
    return (bytes(message(v)) for number, v in fields(data) if number == _VALUE_FIELDS["string"])


def value_chunks(data: Bytes, dtype: str) -> Iterator[np.ndarray]:
    """The numbers of a ``TensorProto`` of a type, in order and a bounded amount at a time.

    They come in the type of :func:`stored_dtype`, complex ones as pairs of floats.

    Raises:
        Malformed: a number is cut short, or does not fit the type.
    """
    fixed = _FIXED_WIDTH.get(dtype)
    kind = np.dtype(fixed or stored_dtype(dtype))
    for number, value in fields(data):
        if number not in (_TENSOR_CONTENT, _VALUE_FIELDS[dtype]):
            continue
        if isinstance(value, int):
            wide = np.array([value], "<u8")
            yield wide.view(kind)[:1] if fixed else _narrowed(wide, kind)
        elif number == _TENSOR_CONTENT or fixed:
            if len(value) % kind.itemsize:
                raise Malformed(f"{len(value):,} bytes of values of {kind.itemsize} bytes each")
            yield np.frombuffer(value, kind)
        else:
            yield from (_narrowed(wide, kind) for wide in packed_varints(value))


def packed_varints(data: Bytes) -> Iterator[np.ndarray]:
    """The numbers of a packed field as uint64, in chunks that bound the working memory.

    Raises:
        Malformed: a number does not end, or is longer than ten bytes.
    """
    start = 0
    while start < len(data):
        raw = np.frombuffer(data[start : start + _VARINT_CHUNK], np.uint8)
        ends = np.flatnonzero(raw < 0x80)
        begins = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
        lengths = ends - begins + 1
        if not len(ends) or lengths.max() > 10:
            raise Malformed("a number does not end")
        values = np.zeros(len(ends), np.uint64)
        for place in range(int(lengths.max())):
            longer = lengths > place
            bits = (raw[begins[longer] + place] & 0x7F).astype(np.uint64)
            values[longer] |= bits << np.uint64(7 * place)
        yield values
        start += int(ends[-1]) + 1


def _narrowed(wide: np.ndarray, kind: np.dtype[np.generic]) -> np.ndarray:
    """Varints in the type of their tensor; negative numbers are stored with all 64 bits.

    Raises:
        Malformed: one does not fit.
    """
    if kind.kind in "iu" and kind.itemsize == 8:
        return wide.view(kind)
    numbers = wide.view(np.int64)
    # A float16 is stored as its bits.
    narrow = numbers.astype(f"<u{kind.itemsize}" if kind.kind == "f" else kind)
    if not np.array_equal(narrow.astype(np.int64), numbers):
        at = int(np.argmax(narrow.astype(np.int64) != numbers))
        raise Malformed(f"the value {numbers[at]:,} does not fit {kind.name}")
    return narrow.view(kind)
