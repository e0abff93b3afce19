"""Constants of a graph: ``TensorProto`` to arrays, within the bounds of the file.

Format: ``tensor.proto`` and ``types.proto`` in tensorflow/core/framework.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from porting.sources.checkpoint.wire import Bytes, Malformed, fields, integer, message
from porting.sources.extent import MOST_SIDES_READ, elements, told
from porting.sources.graphdef.attributes import packed, parse_shape, signed

TYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8",
    9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip
"""Codes of the types that are read; variables of TF1 add 100 (a reference)."""

STRING, RESOURCE = 7, 20
_CONTENT = 4
_REALS = {"float32": (5, "<f4", 4), "float64": (6, "<f8", 8)}
_WHOLES = {
    "int32": 7, "int16": 7, "int8": 7, "uint8": 7, "uint16": 7,
    "int64": 10, "bool": 11, "float16": 13, "bfloat16": 13, "uint32": 16, "uint64": 17,
}  # fmt: skip
"""Type -> the field that holds its values one by one."""
_STRINGS = 8
_STRETCHED = 1 << 20
"""Most elements that one stored value may stand for; shapes and steps have a few."""


@dataclass(frozen=True)
class Constant:
    """A constant as it is stored: ``dtype`` is NumPy's name, or ``string``."""

    shape: tuple[int, ...]
    dtype: str
    stored_as: str
    data: Bytes

    def values(self) -> np.ndarray:
        """The values; bfloat16 comes as float32.

        Raises:
            Malformed: they are fewer or more than the shape has places.
        """
        given = _given(self.data, self.stored_as)
        count = elements(self.shape)
        if given.size == count:
            array = given
        elif given.size < count <= max(_STRETCHED, given.size):
            # The last value stands for all that follow, none for zeros.
            array = np.zeros(count, given.dtype)
            array[: given.size] = given
            array[given.size :] = given[-1] if given.size else 0
        else:
            raise Malformed(
                f"a tensor of shape {self.shape} takes {told(count)} values, it has {given.size:,}"
            )
        return _as_read(array, self.stored_as).reshape(self.shape)

    def strings(self) -> list[bytes]:
        """The elements of a tensor of strings."""
        return [bytes(message(v)) for number, v in fields(self.data) if number == _STRINGS]


def parse_constant(data: Bytes) -> Constant | None:
    """Decode a ``TensorProto`` but for its values; None for a type that is not read.

    Raises:
        Malformed: it is no such message.
    """
    code = 0
    shape: tuple[int, ...] = ()
    for number, value in fields(data):
        if number == 1:
            code = integer(value)
        elif number == 2:
            shape = parse_shape(message(value)) or ()
    if any(side < 0 for side in shape) or len(shape) > MOST_SIDES_READ:
        raise Malformed(f"a constant of shape {shape}")
    if code == STRING:
        return Constant(shape, "string", "string", data)
    stored = TYPES.get(code)
    if stored is None:
        return None
    return Constant(shape, "float32" if stored == "bfloat16" else stored, stored, data)


def _given(data: Bytes, kind: str) -> np.ndarray:
    """The values that are there, as they are stored."""
    dtype = _stored_dtype(kind)
    parts = []
    for number, value in fields(data):
        if number == _CONTENT:
            content = message(value)
            if len(content) % dtype.itemsize:
                raise Malformed(f"{len(content):,} bytes of {kind}")
            parts.append(np.frombuffer(content, dtype))
        elif kind in _REALS and number == _REALS[kind][0]:
            parts.append(_reals(value, *_REALS[kind][1:]))
        elif number == _WHOLES.get(kind):
            numbers = [signed(value)] if isinstance(value, int) else packed(value)
            parts.append(_wholes(numbers, dtype))
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, dtype), *parts])


def _reals(value: int | Bytes, dtype: str, width: int) -> np.ndarray:
    raw = value.to_bytes(8, "little")[:width] if isinstance(value, int) else value
    if len(raw) % width:
        raise Malformed(f"{len(raw):,} bytes of {dtype}")
    return np.frombuffer(raw, dtype)


def _wholes(numbers: list[int], dtype: np.dtype) -> np.ndarray:
    try:
        return np.array(numbers, np.int64 if dtype.kind in "ib" else np.uint64).astype(dtype)
    except OverflowError as error:
        raise Malformed(f"a number that is not of {dtype}") from error


def _stored_dtype(kind: str) -> np.dtype:
    # Halves are stored as the bits they are.
    name = "uint16" if kind in ("bfloat16", "float16") else kind
    return np.dtype(name).newbyteorder("<")


def _as_read(array: np.ndarray, kind: str) -> np.ndarray:
    if kind == "bfloat16":
        # The upper half of a float32.
        return (array.astype(np.uint32) << 16).view(np.float32)
    if kind == "float16":
        return array.astype(np.uint16).view(np.float16)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
