"""Tensors of a TFLite file: how each is stored, and a constant's bytes as an array.

A sparse constant is a tree of coordinates, one level a dimension, with the
values at its leaves. A level is dense, with the same number of children under
every parent, or compressed: then ``segments`` says where each parent's children
begin in ``indices``, which has their coordinates. Blocks are further dimensions
behind the tensor's, each within one of those.

Format: ``Tensor`` and ``SparsityParameters`` in tensorflow/lite ``schema.fbs``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.memory import elements, size_text

_WIDE = ("int32", "uint32", "int64", "uint64")
_INTEGERS = ("int8", "uint8", "int16", "uint16", *_WIDE)
_NUMPY_TYPES = ("float32", "float16", "float64", "bool", *_INTEGERS)

SPARSEST, LARGEST = 256, 1 << 26
"""Most elements of a sparse tensor: for each byte of its file, and in all.

A value and its index take two bytes or more, so a file of one tensor reaches
the first where under one in 512 is not zero. No mobile network reaches the second.
"""


@dataclass(frozen=True)
class Quantisation:
    """Affine quantisation: ``real = scale * (integer - zero_point)``.

    One scale, or one for each index along ``axis``.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int


@dataclass(frozen=True)
class Level:
    """One level of a sparse tensor; ``segments`` is None where it is dense, of ``size`` children.

    ``indices`` and ``segments`` are int64, of one dimension.
    """

    size: int
    segments: np.ndarray | None
    indices: np.ndarray

    def child_positions(
        self, parents: np.ndarray, size: int, stride: int, total: int
    ) -> np.ndarray:
        """Positions (N,) of the level's nodes in the flattened dense tensor of ``total`` elements.

        ``parents`` are the positions of the level before, ``size`` is the number of coordinates
        along this dimension, and ``stride`` how far apart neighbours lie.

        Raises:
            BadSource: the level does not fit these.
        """
        if self.segments is None:
            if self.size != size:
                raise BadSource(f"a dense level has {self.size:,} indices, its shape {size:,}")
            if len(parents) * size > total:
                raise BadSource(f"its levels lead to more than the {total:,} values of its shape")
            return np.asarray((parents[:, None] + stride * np.arange(size)).ravel())
        segments, indices = self.segments, self.indices
        if len(segments) != len(parents) + 1:
            raise BadSource(f"a level has {len(segments):,} segments for {len(parents):,} parents")
        counts = np.diff(segments)
        if segments[0] != 0 or segments[-1] != len(indices) or (counts < 0).any():
            raise BadSource(f"the segments of a level do not divide its {len(indices):,} indices")
        outside = indices[(indices < 0) | (indices >= size)]
        if len(outside):
            raise BadSource(f"a level has the index {outside[0]:,}, its shape has {size:,}")
        return np.asarray(np.repeat(parents, counts) + stride * indices)


@dataclass(frozen=True)
class Sparsity:
    """How a sparse constant is laid out.

    ``order`` gives the dimension of each level: the tensor's, numbered from 0,
    then the blocks'. ``block_map`` gives the tensor's dimension of each block's.
    """

    order: tuple[int, ...]
    block_map: tuple[int, ...]
    levels: tuple[Level, ...]

    def densify(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The dense tensor of ``shape`` with ``values`` (N,) at their places and zeros between.

        Raises:
            BadSource: the layout contradicts itself, the shape or the number of values.
        """
        rank, order, levels, block_map = len(shape), self.order, self.levels, self.block_map
        if sorted(order) != list(range(rank + len(block_map))) or len(levels) != len(order):
            raise BadSource(
                f"its {len(levels)} levels in the order {order} do not fit {rank} dimensions and "
                f"{len(block_map)} of blocks"
            )
        if len(set(block_map)) != len(block_map) or not set(block_map) <= set(range(rank)):
            raise BadSource(f"its block map {block_map} does not fit {rank} dimensions")
        blocks = {axis: levels[order.index(rank + i)].size for i, axis in enumerate(block_map)}
        if any(side < 1 for side in blocks.values()):
            raise BadSource(f"its blocks are of size {blocks}")
        if any(side % blocks.get(axis, 1) for axis, side in enumerate(shape)):
            raise BadSource(f"its blocks {blocks} do not divide its shape {shape}")
        total = math.prod(shape)
        strides = [math.prod(shape[axis + 1 :]) for axis in range(rank)]
        positions = np.zeros(1, np.int64)
        for dimension, level in zip(order, levels, strict=True):
            if dimension < rank:
                block = blocks.get(dimension, 1)
                size, stride = shape[dimension] // block, strides[dimension] * block
            else:
                axis = block_map[dimension - rank]
                size, stride = blocks[axis], strides[axis]
            positions = level.child_positions(positions, size, stride, total)
        if len(positions) != len(values):
            raise BadSource(f"its levels lead to {len(positions):,} values, it has {len(values):,}")
        dense = np.zeros(total, values.dtype)
        dense[positions] = values
        return dense.reshape(shape)


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the file describes it; ``start`` and ``size`` locate a constant's bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    start: int
    size: int
    quantisation: Quantisation | None
    sparsity: Sparsity | None

    @property
    def constant(self) -> bool:
        """Whether the file has its values."""
        return self.size > 0

    @property
    def dtype(self) -> str:
        """NumPy's name of the type that :meth:`read` returns."""
        if self.type in ("float16", "bfloat16") or self.quantisation is not None:
            return "float32"
        return "int8" if self.type == "int4" else self.type

    @property
    def range(self) -> tuple[float, float] | None:
        """The least and the largest real value of a tensor quantised with one scale, or None."""
        parameters = self.quantisation
        if parameters is None or self.type not in _INTEGERS or parameters.scale.size != 1:
            return None
        scale, limits = float(parameters.scale[0]), np.iinfo(self.type)
        if not 0 < scale < math.inf:
            return None
        zero = int(parameters.zero_point[0]) if parameters.zero_point.size else 0
        return scale * (int(limits.min) - zero), scale * (int(limits.max) - zero)

    def check_extent(self, file_size: int, path: Path) -> None:
        """Check that a constant's bytes are as many as its shape and type take.

        Raises:
            BadSource: they are not, or a sparse tensor claims to be larger than is sane.
        """
        if not self.constant:
            return
        if any(side < 0 for side in self.shape):
            raise BadSource(f"{path}: tensor {self.name!r} has shape {self.shape}")
        count = elements(self.shape)
        if self.sparsity is not None:
            most = min(SPARSEST * file_size, LARGEST)
            if count > most:
                raise BadSource(
                    f"{path}: sparse tensor {self.name!r} claims the shape {self.shape}; a file "
                    f"of {file_size:,} bytes may claim {most:,} elements"
                )
            return
        size = _byte_count(self.type, count)
        if size is not None and size != self.size:
            raise BadSource(
                f"{path}: tensor {self.name!r} of shape {self.shape} and type {self.type} "
                f"takes {size_text(size)} bytes, its buffer has {self.size:,}"
            )

    def read(self, data: memoryview, kind: str, path: Path) -> np.ndarray:
        """The constant in the file ``data``, whose bytes are of type ``kind``, in its shape.

        Quantised and half-precision values come as float32, everything else as stored.

        Raises:
            BadSource: sparse levels or scales do not fit the shape.
            UnsupportedSource: the type cannot be read as numbers.
        """
        sparse = "" if self.sparsity is None else "sparse "
        if _byte_count(kind, 1) is None or (sparse and kind not in _NUMPY_TYPES):
            raise UnsupportedSource(
                f"{path}: tensor {self.name!r} is {sparse}{kind}, which is not read"
            )
        raw = data[self.start : self.start + self.size]
        if self.sparsity is None:
            values = _unpack(raw, kind, math.prod(self.shape)).reshape(self.shape)
        else:
            try:
                count, rest = divmod(len(raw), np.dtype(kind).itemsize)
                if rest:
                    raise BadSource(f"its {len(raw):,} bytes are not a whole number of values")
                values = self.sparsity.densify(_unpack(raw, kind, count), self.shape)
            except BadSource as error:
                raise BadSource(
                    f"{path}: sparse tensor {self.name!r} of shape {self.shape} is damaged: {error}"
                ) from error
        if kind == "float16":
            return values.astype(np.float32)
        if self.quantisation is None:
            return values
        scale, zero = self._scale_and_zero_point(self.quantisation, path)
        # A damaged scale gives infinities; carrying out a plan refuses them with the tensor's name.
        with np.errstate(invalid="ignore", over="ignore"):
            if self.type in _WIDE:
                # Biases: integers that float32 would round before they are scaled.
                return np.asarray(((values.astype(np.float64) - zero) * scale).astype(np.float32))
            real = values.astype(np.float32) - zero.astype(np.float32)
            real *= scale
        return np.asarray(real)

    def _scale_and_zero_point(
        self, quantisation: Quantisation, path: Path
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both in shapes that broadcast against the tensor; an absent zero point is 0."""
        scale, zero, axis = quantisation.scale, quantisation.zero_point, quantisation.axis
        if not zero.size:
            zero = np.zeros(1, np.int64)
        if scale.size == 1 and zero.size == 1:
            return scale[0], zero[0]
        if len(self.shape) == 1:
            axis = 0  # some converters name a bias's axis as that of the weight before it
        rank = len(self.shape)
        if not 0 <= axis < rank or {scale.size, zero.size} - {1} != {self.shape[axis]}:
            raise BadSource(
                f"{path}: tensor {self.name!r} of shape {self.shape} has {scale.size} scales and "
                f"{zero.size} zero points along axis {axis}"
            )
        along = tuple(-1 if i == axis else 1 for i in range(rank))
        return scale.reshape(along), zero.reshape(along)


def _byte_count(kind: str, count: int) -> int | None:
    """The bytes that ``count`` values take; None for a type that is not read."""
    if kind == "int4":
        return (count + 1) // 2
    if kind == "bfloat16":
        return 2 * count
    return count * np.dtype(kind).itemsize if kind in _NUMPY_TYPES else None


def _unpack(raw: memoryview, kind: str, count: int) -> np.ndarray:
    """Bytes as an array (count,): a view where NumPy has the type."""
    if kind == "int4":
        pairs = np.frombuffer(raw, np.uint8)
        nibbles = np.stack([pairs & 15, pairs >> 4], axis=-1).ravel()[:count]  # low bits first
        return (nibbles ^ 8).astype(np.int8) - np.int8(8)
    if kind == "bfloat16":
        # The upper half of a float32.
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, np.dtype(kind).newbyteorder("<"), count)
