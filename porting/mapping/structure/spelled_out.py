"""Activations that a graph spells out, made one node.

Hard-swish is ``x * relu6(x + 3) / 6``, the hard sigmoid ``relu6(x + 3) / 6``, SiLU
``x * sigmoid(x)``; both sides write them as one operator or as several, in more than one order.
"""

from __future__ import annotations

from dataclasses import replace

from porting.mapping.structure.node import Node, SourceLayer

_CLAMPED = "relu6(x + 3)"
_TOLERANCE = 1e-4  # slim writes 0.16667 for 1/6
_GATED = {"hard_sigmoid": "hard_swish", "sigmoid": "silu"}


def simplified(node: Node, lifted: bool = False) -> Node:
    """The node, or the activation that it completes.

    ``lifted`` takes a sixth of a clamped layer for a hard sigmoid whose 3 a
    converter has added to the layer's bias.
    """
    if node.kind == "relu6" and _is(node.inputs[0], "shift", 3.0):
        return _as(node, _CLAMPED, node.inputs[0].inputs[0])
    if _is(node, "scale", 1 / 6):
        return _sixth(node, node.inputs[0], lifted)
    if node.kind == "mul":
        for left, right in (node.inputs, node.inputs[::-1]):
            if right.kind in _GATED and right.inputs[0] is left:
                return _as(node, _GATED[right.kind], left)
            sixth = _is(left, "scale", 1 / 6) and left.inputs[0] is right.inputs[0]
            if right.kind == _CLAMPED and sixth:
                return _as(node, "hard_swish", right.inputs[0])
    return node


def _sixth(node: Node, given: Node, lifted: bool) -> Node:
    """A sixth of ``given``, where that makes an activation."""
    factor = 6 * float(str(node.facts[0]))
    if given.kind == _CLAMPED:
        return replace(_as(node, "hard_sigmoid", given.inputs[0]), factor=factor)
    if given.kind == "mul":
        for left, right in (given.inputs, given.inputs[::-1]):
            if right.kind == _CLAMPED and right.inputs[0] is left:
                return _as(node, "hard_swish", left)
    layer = given.inputs[0].layer if given.kind == "relu6" else None
    if lifted and isinstance(layer, SourceLayer) and layer.bias is not None and layer.norm is None:
        below = replace(given.inputs[0], layer=replace(layer, offset=3.0), value=None)
        return replace(_as(node, "hard_sigmoid", below), factor=factor)
    return node


def _as(node: Node, kind: str, given: Node) -> Node:
    return replace(node, kind=kind, facts=(), inputs=(given,))


def _is(node: Node, kind: str, number: float) -> bool:
    if node.kind != kind or not isinstance(node.facts[0], float):
        return False
    return abs(node.facts[0] - number) <= _TOLERANCE * number
