"""Sparse constants: a tree of coordinates, one level a dimension, and the values at its leaves.

A level is dense, with the same number of children under every parent, or
compressed: then ``segments`` says where each parent's children begin in
``indices``, which gives their coordinates. Blocks are dimensions of their own
behind the tensor's, each within one of those.

Format: ``SparsityParameters`` in tensorflow/lite ``schema.fbs``. Every index is
held against the dense shape before it is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from porting.errors import BadSource
from porting.sources.tflite.flatbuffer import Table

_COMPRESSED = 1
_INDEX_TYPES = {1: "i4", 2: "u2", 3: "u1"}
"""``SparseIndexVector``: the union's type -> its elements."""


@dataclass(frozen=True)
class Level:
    """One level of the tree; ``segments`` is None where it is dense, of ``size`` children."""

    size: int
    segments: np.ndarray | None
    indices: np.ndarray


@dataclass(frozen=True)
class Sparsity:
    """How a sparse constant is laid out.

    ``order`` gives the dimension of each level: the tensor's, numbered from 0,
    then the blocks'. ``block_map`` gives the tensor's dimension of each block's.
    """

    order: tuple[int, ...]
    block_map: tuple[int, ...]
    levels: tuple[Level, ...]


def parse_sparsity(table: Table) -> Sparsity:
    """What a tensor's ``sparsity`` table says, unchecked but for its bounds in the file."""
    order = table.array(0, "i4", "traversal order")
    block_map = table.array(1, "i4", "block map")
    levels = tuple(_level(entry) for entry in table.tables(2, "levels of a sparse tensor"))
    return Sparsity(tuple(order.tolist()), tuple(block_map.tolist()), levels)


def _level(table: Table) -> Level:
    if table.scalar(0, "b") != _COMPRESSED:
        return Level(int(table.scalar(1, "i")), None, np.empty(0, np.int64))
    return Level(0, _index_vector(table, 2, "segments"), _index_vector(table, 4, "indices"))


def _index_vector(table: Table, slot: int, what: str) -> np.ndarray:
    """A union's vector; the union's type lies in the slot before."""
    kind, vector = int(table.scalar(slot, "B")), table.table(slot + 1, what)
    if kind not in _INDEX_TYPES or vector is None:
        return np.empty(0, np.int64)
    return vector.array(0, _INDEX_TYPES[kind], what).astype(np.int64)


def densify(stored: np.ndarray, shape: tuple[int, ...], sparsity: Sparsity) -> np.ndarray:
    """The dense tensor of ``shape`` with the ``stored`` values (N,) in their places, zeros between.

    Raises:
        BadSource: the layout contradicts itself, the shape or the number of values.
    """
    places = np.zeros(1, np.int64)
    total = math.prod(shape)
    for level, size, stride in _extents(shape, sparsity):
        places = _children(places, level, size, stride, total)
    if len(places) != len(stored):
        raise BadSource(f"its levels lead to {len(places):,} values, it holds {len(stored):,}")
    dense = np.zeros(total, stored.dtype)
    dense[places] = stored
    return dense.reshape(shape)


def _extents(shape: tuple[int, ...], sparsity: Sparsity) -> list[tuple[Level, int, int]]:
    """Each level with its extent and with how far apart its neighbours lie in the dense tensor."""
    rank, order, levels = len(shape), sparsity.order, sparsity.levels
    inner = _blocks(rank, sparsity)
    if any(side % inner.get(axis, 1) for axis, side in enumerate(shape)):
        raise BadSource(f"its blocks {inner} do not divide its shape {shape}")
    strides = [math.prod(shape[axis + 1 :]) for axis in range(rank)]
    extents = []
    for dimension, level in zip(order, levels, strict=True):
        if dimension < rank:
            block = inner.get(dimension, 1)
            extents.append((level, shape[dimension] // block, strides[dimension] * block))
        else:
            axis = sparsity.block_map[dimension - rank]
            extents.append((level, inner[axis], strides[axis]))
    return extents


def _blocks(rank: int, sparsity: Sparsity) -> dict[int, int]:
    """The block's side along each dimension that has blocks."""
    order, levels, block_map = sparsity.order, sparsity.levels, sparsity.block_map
    if sorted(order) != list(range(rank + len(block_map))) or len(levels) != len(order):
        raise BadSource(
            f"its {len(levels)} levels in the order {order} do not fit {rank} dimensions and "
            f"{len(block_map)} of blocks"
        )
    if len(set(block_map)) != len(block_map) or not set(block_map) <= set(range(rank)):
        raise BadSource(f"its block map {block_map} does not fit {rank} dimensions")
    sides = {axis: levels[order.index(rank + i)].size for i, axis in enumerate(block_map)}
    if any(side < 1 for side in sides.values()):
        raise BadSource(f"its blocks are of size {sides}")
    return sides


def _children(places: np.ndarray, level: Level, size: int, stride: int, total: int) -> np.ndarray:
    """Where a level's nodes lie in the flattened dense tensor, with their parents at ``places``."""
    if level.segments is None:
        if level.size != size:
            raise BadSource(f"a dense level has {level.size:,} indices, its shape {size:,}")
        if len(places) * size > total:
            raise BadSource(f"its levels lead to more than the {total:,} values of its shape")
        return np.asarray((places[:, None] + stride * np.arange(size)).ravel())
    segments, indices = level.segments, level.indices
    if len(segments) != len(places) + 1:
        raise BadSource(f"a level has {len(segments):,} segments for {len(places):,} parents")
    counts = np.diff(segments)
    if segments[0] != 0 or segments[-1] != len(indices) or (counts < 0).any():
        raise BadSource(f"the segments of a level do not part its {len(indices):,} indices")
    outside = indices[(indices < 0) | (indices >= size)]
    if len(outside):
        raise BadSource(f"a level has the index {outside[0]:,}, its shape has {size:,}")
    return np.asarray(np.repeat(places, counts) + stride * indices)
