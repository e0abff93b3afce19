"""Batch norms that a graph keeps apart from the convolution before them."""

from __future__ import annotations

import numpy as np

from porting.mapping.layers import Layer
from porting.mapping.operators import describe, operand
from porting.mapping.walk import Norm, Walk
from porting.sources.source import Operator


def take_norm(walk: Walk, layer: Layer, convolution: Operator, epsilon: float) -> Norm | None:
    """Go past the batch norm behind ``convolution``; None where it is folded, or there is none.

    Raises:
        GraphMismatch: the network has none here, or another epsilon, or the graph adds a bias
            before it.
    """
    operator = walk.at_once("BATCH_NORM")
    if operator is None:
        return None
    found = f"{describe(convolution, walk.source)}, then {describe(operator, walk.source)}"
    if layer.norm is None:
        raise walk.fail(found, f"{layer.describe()}, without a batch norm")
    if len(convolution.inputs) > 2 and convolution.inputs[2] is not None:
        raise walk.fail(f"{found}, with a bias between them", layer.describe())
    stated = operator.options["epsilon"]
    # Graphs keep it in float32.
    if stated is not None and np.float32(stated) != np.float32(epsilon):
        expected = f"{layer.norm}, a batch norm with epsilon {epsilon:g}"
        raise walk.fail(f"{found}, with epsilon {stated:g}", expected)
    names = [operand(operator, place, walk.source) for place in range(1, 5)]
    for given, name in zip(operator.inputs[1:], names, strict=True):
        if given is not None and name is None:
            raise walk.fail(f"{found}, by {given!r}, which is not stored", layer.describe())
    walk.visit(operator)
    return Norm(operator, *names)
