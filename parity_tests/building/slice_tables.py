"""Checkpoints of format V1 made byte by byte, without ``porting``.

Formats: tensorflow/core ``saved_tensor_slice.proto`` and ``tensor.proto``.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from parity_tests.building.tables import (
    DTYPES,
    cut_out,
    field,
    shape_proto,
    slice_key,
    slice_proto,
    table,
    varint,
)

FLOATS, INTS, STRINGS, INT64S = 5, 7, 8, 10


def meta(tensors: dict[str, np.ndarray], parts) -> bytes:
    """The value of the empty key: a ``SavedTensorSliceMeta``."""
    listed = b""
    for name, values in tensors.items():
        code = DTYPES["string" if values.dtype == object else values.dtype.name]
        entry = field(1, name.encode()) + field(2, shape_proto(values.shape)) + field(3, code)
        listed += field(1, entry + b"".join(field(4, slice_proto(p)) for p in parts[name]))
    return field(1, listed + field(2, field(1, 1)))


def saved(name: str, part, tensor_proto: bytes) -> bytes:
    """The value of a slice's key: a ``SavedSlice``."""
    return field(2, field(1, name.encode()) + field(2, slice_proto(part)) + field(3, tensor_proto))


def typed(values: np.ndarray) -> bytes:
    """A ``TensorProto`` with packed values, as TensorFlow's writer leaves it."""
    if values.dtype == object:
        return b"".join(field(STRINGS, value) for value in values.flat)
    if values.dtype == np.float32:
        return field(FLOATS, values.tobytes())
    number = INT64S if values.dtype == np.int64 else INTS
    return field(number, b"".join(varint(int(v) & (1 << 64) - 1) for v in values.flat))


def whole(values: np.ndarray):
    """The one slice of a tensor in one piece."""
    return (None,) * values.ndim


def write_v1(path: Path, tensors: dict[str, np.ndarray], parts=None, change=None,
             spoilt_meta=None, compress=None) -> None:  # fmt: skip
    """Write a file of format V1. ``change(key, value)`` may alter or drop (None) a value."""
    parts = {n: (parts or {}).get(n, [whole(v)]) for n, v in tensors.items()}
    values = {b"": meta(tensors, parts) if spoilt_meta is None else spoilt_meta}
    for name, slices in parts.items():
        for part in slices:
            proto = typed(cut_out(tensors[name], part))
            values[slice_key(name, part)] = saved(name, part, proto)
    if change is not None:
        values = {key: change(key, value) for key, value in values.items()}
    pairs = sorted((key, value) for key, value in values.items() if value is not None)
    path.write_bytes(table(pairs, per_block=2, compress=compress))


def fixed32(number: int, value: float) -> bytes:
    """A float that is not packed."""
    return varint(number << 3 | 5) + struct.pack("<f", value)
