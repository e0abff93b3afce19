"""From a tensor's bytes to an array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from porting.sources.checkpoint.checksum import crc32c, masked
from porting.sources.checkpoint.entries import SIZES, Entry
from porting.sources.checkpoint.wire import Malformed, varint
from porting.sources.source import TensorInfo

MAX_STRINGS = 1 << 18
"""Most strings of one tensor that are read: each costs far more in memory than in a file."""


def info_of(name: str, shape: tuple[int, ...], dtype: str) -> TensorInfo:
    """A stored tensor as it will be read: bfloat16 as float32, strings as objects."""
    read_as = {"bfloat16": "float32", "string": "object"}.get(dtype, dtype)
    return TensorInfo(name, shape, read_as, dtype)


def is_read(dtype: str) -> bool:
    """Whether tensors of a type can be read at all: resources and variants cannot."""
    return dtype in SIZES or dtype == "string"


def stored_kind(dtype: str) -> np.dtype[np.generic]:
    """The NumPy type of what lies on disk; bfloat16 as its sixteen bits."""
    if dtype == "string":
        return np.dtype(object)
    return np.dtype("<u2" if dtype == "bfloat16" else dtype).newbyteorder("<")


def blank(dtype: str, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the stored values of a tensor go, and the array that they show up in.

    The two are one array but for bfloat16, which is the upper half of a float32:
    filled in place, it takes no second copy.
    """
    if dtype == "bfloat16":
        halves = np.zeros((*shape, 2), "<u2")
        return halves[..., 1], halves.view("<f4")[..., 0]
    whole = np.empty(shape, stored_kind(dtype))
    return whole, whole


def stored_array(raw: memoryview, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Numbers as they lie on disk: a view of the file."""
    return np.frombuffer(raw, stored_kind(dtype)).reshape(shape)


def array_of(raw: memoryview, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Numbers as they are read: a view of the file, but bfloat16 as float32."""
    stored = stored_array(raw, dtype, shape)
    if dtype != "bfloat16":
        return stored
    target, whole = blank(dtype, shape)
    target[...] = stored
    return whole


def strings_of(raw: memoryview, entry: Entry) -> tuple[np.ndarray, int]:
    """The strings of a tensor, as bytes in an array of objects, and their masked CRC32C.

    Format: ``WriteStringTensor`` in tensorflow/core/util/tensor_bundle: the
    lengths as varints, their checksum, then the strings. The checksum runs over
    the lengths as fixed integers, their own checksum and the strings.

    Raises:
        Malformed: the lengths do not end, do not fit, or fail their checksum.
    """
    whole = np.empty(entry.shape, object)
    lengths, place, crc = [], 0, 0
    for _ in range(whole.size):
        length, place = varint(raw, place)
        lengths.append(length)
        wide = 4 if length < 1 << 32 else 8
        crc = crc32c(length.to_bytes(wide, "little"), crc)
    stored = bytes(raw[place : place + 4])
    if stored != masked(crc).to_bytes(4, "little"):
        raise Malformed("the lengths of its strings fail their checksum")
    crc = crc32c(raw[place:], crc)
    place += 4
    if place + sum(lengths) != len(raw):
        raise Malformed(f"its strings take {sum(lengths):,} bytes, found {len(raw) - place:,}")
    for index, length in enumerate(lengths):
        whole.flat[index] = bytes(raw[place : place + length])
        place += length
    return whole, masked(crc)
