"""Padding of a graph's convolutions, and whether a network pads the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from porting.mapping.layers import Layer
from porting.mapping.operators import constant_of, describe
from porting.mapping.walk import Walk

PADS = ("PAD", "PADV2")


@dataclass(frozen=True)
class Pads:
    """Places added (top, bottom) and (left, right) by an operator of its own."""

    rows: tuple[int, int]
    columns: tuple[int, int]


def take_pads(walk: Walk, layer: Layer) -> Pads | None:
    """Go past an explicit padding with zeros, if there is one.

    Raises:
        GraphMismatch: it pads batch or channels, or with something else.
    """
    operator = walk.only(*PADS) if layer.kernel > 1 else None
    if operator is None:
        return None
    amounts = constant_of(operator, walk.source)
    if amounts is None or amounts.shape != (4, 2) or amounts[[0, 3]].any():
        raise walk.fail(describe(operator, walk.source), layer.describe())
    walk.visit(operator)
    (top, bottom), (left, right) = np.asarray(amounts, int)[1:3].tolist()
    return Pads((top, bottom), (left, right))


def same_pads(sides: tuple[int, ...], kernel: int, stride: int) -> Pads:
    """What SAME adds to a plane of these sides (height, width).

    Source: the notes on padding at https://www.tensorflow.org/api_docs/python/tf/nn.
    """
    ends = []
    for side in sides:
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        ends.append((total // 2, total - total // 2))
    return Pads(*ends)


def padding_of(
    stated: str, pads: Pads | None, sides: tuple[int, ...], layer: Layer
) -> tuple[str, ...]:
    """The network paddings, ``same`` and ``symmetric``, that a convolution's is equal to.

    ``sides`` are those of its input before any padding (height, width), below
    1 where the graph leaves them open.
    """
    if layer.kernel == 1:
        return ("same", "symmetric")
    if stated == "SAME":
        # At stride 1 the two are equal for any side.
        return ("same", "symmetric") if layer.stride == 1 and pads is None else ("same",)
    found = pads or Pads((0, 0), (0, 0))
    half = ((layer.kernel - 1) // 2,) * 2
    fits = []
    if min(sides) > 0 and found == same_pads(sides, layer.kernel, layer.stride):
        fits.append("same")
    if found == Pads(half, half):
        fits.append("symmetric")
    return tuple(fits)
