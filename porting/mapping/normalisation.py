"""Steps at a graph's start that normalise its input, and what they amount to."""

from __future__ import annotations

import numpy as np

from porting.mapping.operators import describe, is_constant, is_plain, operand, stored_name
from porting.mapping.walk import Alignment, Walk
from porting.sources.source import Operator, Source

_COMMUTATIVE = ("ADD", "MUL")
_SCALES = ("MUL", "DIV")
_AFFINE = ("SUB", "DIV", *_COMMUTATIVE)


def take_normalisation(walk: Walk, channels: int) -> None:
    """Go past every step that adds or multiplies a constant, and note it.

    Raises:
        GraphMismatch: a step is other than by one finite number, or one a channel.
    """
    while (operator := walk.only(*_AFFINE)) is not None:
        place = _constant_place(operator, walk.source)
        if place is None or not is_plain(operator):
            break
        if not _is_even(operator, place, channels, walk.source):
            raise walk.fail(
                describe(operator, walk.source),
                f"a normalisation by one finite number, or one for each of {channels} channels",
            )
        name = operator.inputs[place]
        assert name is not None  # _constant_place looked
        walk.found.normalisation.append((operator.kind, name))
        walk.visit(operator)
    walk.found.data = walk.cursor


def _constant_place(operator: Operator, source: Source) -> int | None:
    """Which of two operands is the only constant one; SUB and DIV must have it second."""
    if len(operator.inputs) != 2:
        return None
    places = [i for i, name in enumerate(operator.inputs) if name and is_constant(name, source)]
    turned = places == [0] and operator.kind not in _COMMUTATIVE
    return places[0] if len(places) == 1 and not turned else None


def _is_even(operator: Operator, place: int, channels: int, source: Source) -> bool:
    """Whether a constant treats every pixel alike, and can be undone."""
    name = operand(operator, place, source)
    shape = source.tensors[name].shape if name is not None else ()
    if name is None or any(side != 1 for side in shape[:-1]) or shape[-1:] not in (
        (), (1,), (channels,)
    ):  # fmt: skip
        return False
    values = source.read(name)
    divides = operator.kind in _SCALES and not values.all()
    return not divides and bool(np.isfinite(values).all())


def normalisation_of(source: Source, alignment: Alignment) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset that the graph applies to its input, in float64, one or one a channel."""
    scale, offset = np.ones(1), np.zeros(1)
    for kind, name in alignment.normalisation:
        constant = source.read(stored_name(name, source)).astype(np.float64).ravel()
        if kind in _SCALES:
            factor = constant if kind == "MUL" else 1.0 / constant
            scale, offset = scale * factor, offset * factor
        else:
            offset = offset + constant if kind == "ADD" else offset - constant
    return scale, offset
