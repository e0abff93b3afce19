"""Padding of a graph's convolutions, and whether a network pads the same."""

from __future__ import annotations

from dataclasses import dataclass

from porting.mapping.layers import Layer
from porting.mapping.operators import describe, integers_of, operand
from porting.mapping.walk import Walk
from porting.sources.source import Operator

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
    amounts = integers_of(operator, 1, walk.source)
    if amounts is None or amounts.shape != (4, 2) or amounts[[0, 3]].any():
        found = f"{describe(operator, walk.source)}, of other than height and width"
        raise walk.fail(found, layer.describe())
    if len(operator.inputs) > 2 and not _is_zero(walk, operator):
        found = f"{describe(operator, walk.source)}, with something else than 0"
        raise walk.fail(found, layer.describe())
    walk.visit(operator)
    (top, bottom), (left, right) = amounts[1:3].tolist()
    return Pads((top, bottom), (left, right))


def _is_zero(walk: Walk, operator: Operator) -> bool:
    """Whether what a PADV2 fills in is 0."""
    name = operand(operator, 2, walk.source)
    return name is not None and not walk.source.read(name).any()


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
