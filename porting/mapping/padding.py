"""Padding of a graph's convolutions, and whether a network pads the same."""

from __future__ import annotations

from dataclasses import dataclass

from porting.mapping.layers import Layer
from porting.mapping.operators import describe, integers_of, operand
from porting.mapping.walk import Walk
from porting.sources.source import Operator, Source

PADS = ("PAD", "PADV2")


@dataclass(frozen=True)
class Pads:
    """Places added (top, bottom) and (left, right) by an operator of its own."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def __str__(self) -> str:
        return f"rows {self.rows}, columns {self.columns}"


NO_PADS = Pads((0, 0), (0, 0))


def take_pads(walk: Walk, layer: Layer) -> Pads | None:
    """Go past an explicit padding with zeros, if there is one.

    Raises:
        GraphMismatch: it pads batch or channels, or with something else.
    """
    operator = walk.only(*PADS) if layer.kernel > 1 else None
    if operator is None:
        return None
    pads = pads_of(operator, walk.source)
    if pads is None:
        found = f"{describe(operator, walk.source)}, of other than height and width, or not with 0"
        raise walk.fail(found, layer.describe())
    walk.visit(operator)
    return pads


def pads_of(operator: Operator, source: Source) -> Pads | None:
    """What a PAD or PADV2 adds; None where it pads batch or channels, or with other than 0."""
    amounts = integers_of(operator, 1, source)
    if amounts is None or amounts.shape != (4, 2) or amounts[[0, 3]].any():
        return None
    if len(operator.inputs) > 2:
        name = operand(operator, 2, source)
        if name is None or source.read(name).any():
            return None
    (top, bottom), (left, right) = amounts[1:3].tolist()
    return Pads((top, bottom), (left, right))


def same_pads(sides: tuple[int, ...], kernel: int, stride: int) -> Pads:
    """What SAME adds to a plane of these sides (height, width)."""
    return Pads(*(same_pad(side, kernel, stride) for side in sides))


def same_pad(side: int, reach: int, stride: int) -> tuple[int, int]:
    """What SAME adds before and after a side, for a kernel that reaches over so many places.

    Source: the notes on padding at https://www.tensorflow.org/api_docs/python/tf/nn.
    """
    total = max((-(-side // stride) - 1) * stride + reach - side, 0)
    return total // 2, total - total // 2


def padding_of(
    stated: str, pads: Pads | None, sides: tuple[int, ...], layer: Layer
) -> tuple[str, ...]:
    """The network paddings, ``same`` and ``symmetric``, that a convolution's is equal to.

    ``sides`` are those of its input before any padding (height, width), below
    1 where the graph leaves them open.
    """
    if layer.kernel == 1:
        return ("same", "symmetric")
    found = pads or NO_PADS
    if stated == "SAME":
        if found != NO_PADS:
            return ()
        # At stride 1 the two are equal for any side.
        return ("same", "symmetric") if layer.stride == 1 else ("same",)
    half = ((layer.kernel - 1) // 2,) * 2
    fits = []
    if min(sides) > 0 and found == same_pads(sides, layer.kernel, layer.stride):
        fits.append("same")
    if found == Pads(half, half):
        fits.append("symmetric")
    return tuple(fits)
