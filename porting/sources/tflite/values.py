"""A constant's bytes as numbers: unpacked, densified, and real where integers stand for reals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.extent import elements, told
from porting.sources.tflite.model import Quantisation, StoredTensor
from porting.sources.tflite.sparsity import densify

_WIDE = ("int32", "uint32", "int64", "uint64")
_INTEGERS = ("int8", "uint8", "int16", "uint16", *_WIDE)
_PLAIN = ("float32", "float16", "float64", "bool", *_INTEGERS)
_HALVES = ("float16", "bfloat16")

SPARSEST, LARGEST = 256, 1 << 26
"""Most elements of a sparse tensor: for each byte of its file, and in all.

A value and its index take two bytes or more, so a file of one tensor reaches
the first where under one in 512 is not zero. No mobile network reaches the second.
"""


def dtype_of(tensor: StoredTensor) -> str:
    """NumPy's name for what :func:`constant` gives."""
    if tensor.type in _HALVES or tensor.quantisation is not None:
        return "float32"
    return "int8" if tensor.type == "int4" else tensor.type


def value_range(tensor: StoredTensor) -> tuple[float, float] | None:
    """The smallest and the largest real value of a tensor quantised with one scale."""
    parameters = tensor.quantisation
    if parameters is None or tensor.type not in _INTEGERS or parameters.scale.size != 1:
        return None
    scale, limits = float(parameters.scale[0]), np.iinfo(tensor.type)
    if not 0 < scale < math.inf:
        return None
    zero = int(parameters.zero_point[0]) if parameters.zero_point.size else 0
    return scale * (int(limits.min) - zero), scale * (int(limits.max) - zero)


def check_extent(tensor: StoredTensor, file_size: int, path: Path) -> None:
    """A constant's bytes must be as many as its shape and type ask for.

    Raises:
        BadSource: they are not, or a sparse tensor claims to be larger than is sane.
    """
    if not tensor.constant:
        return
    if any(side < 0 for side in tensor.shape):
        raise BadSource(f"{path}: tensor {tensor.name!r} has shape {tensor.shape}")
    count = elements(tensor.shape)
    if tensor.sparsity is not None:
        most = min(SPARSEST * file_size, LARGEST)
        if count > most:
            raise BadSource(
                f"{path}: sparse tensor {tensor.name!r} claims the shape {tensor.shape}; a file "
                f"of {file_size:,} bytes may claim {most:,} elements"
            )
        return
    expected = _bytes(tensor.type, count)
    if expected is not None and expected != tensor.size:
        raise BadSource(
            f"{path}: tensor {tensor.name!r} of shape {tensor.shape} and type {tensor.type} "
            f"takes {told(expected)} bytes, its buffer has {tensor.size:,}"
        )


def _bytes(kind: str, count: int) -> int | None:
    """What so many values take; None for a type that is not read."""
    if kind == "int4":
        return (count + 1) // 2
    if kind == "bfloat16":
        return 2 * count
    return count * np.dtype(kind).itemsize if kind in _PLAIN else None


def constant(data: memoryview, tensor: StoredTensor, kind: str, path: Path) -> np.ndarray:
    """A constant of the file ``data``, whose bytes are of type ``kind``, in its shape.

    Quantised and half-precision values come as float32, everything else as stored.

    Raises:
        BadSource: sparse levels or scales do not fit the shape.
        UnsupportedSource: the type cannot be read as numbers.
    """
    if _bytes(kind, 1) is None or (tensor.sparsity is not None and kind not in _PLAIN):
        found = kind if tensor.sparsity is None else f"sparse {kind}"
        raise UnsupportedSource(f"{path}: tensor {tensor.name!r} is {found}, which is not read")
    raw = data[tensor.start : tensor.start + tensor.size]
    if tensor.sparsity is None:
        stored = _unpacked(raw, kind, math.prod(tensor.shape)).reshape(tensor.shape)
    else:
        stored = _densified(raw, tensor, kind, path)
    if kind == "float16":
        return stored.astype(np.float32)
    return stored if tensor.quantisation is None else _real(stored, tensor, path)


def _unpacked(raw: memoryview, kind: str, count: int) -> np.ndarray:
    if kind == "int4":
        pairs = np.frombuffer(raw, np.uint8)
        nibbles = np.stack([pairs & 15, pairs >> 4], axis=-1).ravel()[:count]  # low bits first
        return (nibbles ^ 8).astype(np.int8) - np.int8(8)
    if kind == "bfloat16":
        # The upper half of a float32.
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, np.dtype(kind).newbyteorder("<"), count)


def _densified(raw: memoryview, tensor: StoredTensor, kind: str, path: Path) -> np.ndarray:
    assert tensor.sparsity is not None  # the caller looked
    try:
        count, rest = divmod(len(raw), np.dtype(kind).itemsize)
        if rest:
            raise BadSource(f"its {len(raw):,} bytes are no whole number of values")
        return densify(_unpacked(raw, kind, count), tensor.shape, tensor.sparsity)
    except BadSource as error:
        raise BadSource(
            f"{path}: sparse tensor {tensor.name!r} of shape {tensor.shape} is damaged: {error}"
        ) from error


def _real(stored: np.ndarray, tensor: StoredTensor, path: Path) -> np.ndarray:
    """``scale * (stored - zero_point)`` in float32; an absent zero point is 0."""
    parameters = tensor.quantisation
    assert parameters is not None  # the caller looked
    scale, zero = _along_axis(parameters, tensor, path)
    # A damaged scale gives infinities; carrying out a plan refuses them with the tensor's name.
    with np.errstate(invalid="ignore", over="ignore"):
        if tensor.type in _WIDE:
            # Biases: integers that float32 would round before they are scaled.
            return np.asarray(((stored.astype(np.float64) - zero) * scale).astype(np.float32))
        real = stored.astype(np.float32) - zero.astype(np.float32)
        real *= scale
    return np.asarray(real)


def _along_axis(
    parameters: Quantisation, tensor: StoredTensor, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point, shaped so that they multiply the tensor."""
    scale, zero, axis = parameters.scale, parameters.zero_point, parameters.axis
    if not zero.size:
        zero = np.zeros(1, np.int64)
    if scale.size == 1 and zero.size == 1:
        return scale[0], zero[0]
    shape = tensor.shape
    if len(shape) == 1:
        axis = 0  # some converters name a bias's axis as that of the weight before it
    if not 0 <= axis < len(shape) or {scale.size, zero.size} - {1} != {shape[axis]}:
        raise BadSource(
            f"{path}: tensor {tensor.name!r} of shape {shape} has {scale.size} scales and "
            f"{zero.size} zero points along axis {axis}"
        )
    along = tuple(-1 if i == axis else 1 for i in range(len(shape)))
    return scale.reshape(along), zero.reshape(along)
