"""Shapes of what a graph's operations pass on (NHWC); -1 for a side that is left open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from porting.sources.graphdef.attributes import Shape


def placed(side: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    """Places of a kernel along a side.

    Source: the notes on padding at https://www.tensorflow.org/api_docs/python/tf/nn.
    """
    if side < 0 or stride < 1:
        return -1
    if padding == "SAME":
        return -(-side // stride)
    return max(-(-(side - (kernel - 1) * dilation) // stride), 0)


def windowed(
    data: Shape, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    padding: str, channels: int | None,
) -> Shape:  # fmt: skip
    """Behind a convolution or pooling; ``channels`` None keeps those of the data."""
    if data is None or len(data) != 4:
        return None
    each = zip(data[1:3], kernel, strides, dilations, strict=True)
    sides = (placed(*along, padding) for along in each)
    return (data[0], *sides, data[3] if channels is None else channels)


def spread(left: Shape, right: Shape) -> Shape:
    """Of two operands set against each other."""
    if left is None or right is None:
        return None
    long, short = (left, right) if len(left) >= len(right) else (right, left)
    short = (1,) * (len(long) - len(short)) + short
    return tuple(
        b if a == 1 else a if b in (1, a) else max(a, b) if -1 in (a, b) else -1
        for a, b in zip(long, short, strict=True)
    )


def reduced(data: Shape, axes: np.ndarray | None, keep: bool) -> Shape:
    """Behind a mean over some axes."""
    if data is None or axes is None or not data:
        return None
    gone = {int(axis) % len(data) for axis in axes.ravel()}
    if keep:
        return tuple(1 if axis in gone else side for axis, side in enumerate(data))
    return tuple(side for axis, side in enumerate(data) if axis not in gone)


def squeezed(data: Shape, axes: Sequence[int]) -> Shape:
    """Without the axes named, or without all of one place."""
    if data is None:
        return None
    gone = {axis % len(data) for axis in axes} if data else set()
    if not axes:
        gone = {axis for axis, side in enumerate(data) if side == 1}
    return tuple(side for axis, side in enumerate(data) if axis not in gone)


def transposed(data: Shape, order: np.ndarray | None) -> Shape:
    """With its axes in another order."""
    if data is None or order is None or sorted(order.ravel()) != list(range(len(data))):
        return None
    return tuple(data[int(axis)] for axis in order.ravel())


def expanded(data: Shape, axis: np.ndarray | None) -> Shape:
    """With one more axis of one place."""
    if data is None or axis is None or axis.size != 1:
        return None
    place = int(axis.ravel()[0]) % (len(data) + 1)
    return (*data[:place], 1, *data[place:])


def reshaped(data: Shape, wanted: Sequence[int]) -> Shape:
    """As ``wanted``, whose one open side takes what is left where that is known."""
    if data is None or -1 in data or list(wanted).count(-1) != 1:
        return tuple(wanted)
    rest = int(np.prod([side for side in wanted if side != -1], dtype=np.int64))
    whole = int(np.prod(data, dtype=np.int64))
    return tuple(whole // rest if side == -1 and rest > 0 else side for side in wanted)


def padded(data: Shape, amounts: np.ndarray | None) -> Shape:
    """With places added (N, H, W, C), each before and behind."""
    if data is None or amounts is None or amounts.shape != (len(data), 2):
        return None
    added = amounts.sum(axis=1).tolist()
    return tuple(-1 if s < 0 else s + n for s, n in zip(data, added, strict=True))
