"""Layers of a traced module: convolutions, dense layers, batch norms behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from porting.mapping.padding import NO_PADS, Pads
from porting.mapping.structure.node import ModuleLayer, ModuleNorm, Node, layer_kind
from porting.mapping.structure.traced import (
    argument,
    operator_of,
    padded,
    pair,
    place_of,
    shape_of,
)

if TYPE_CHECKING:
    from torch import fx

KeyOf = Callable[[Any], "str | None"]
"""The state-dict key of what a traced node holds, None where it is data or nothing."""


def layer_of(node: fx.Node, given: Node, key_of: KeyOf) -> Node | None:
    """What a traced operator makes of ``given`` with weights of its own; else None."""
    name = operator_of(node)
    if name == "conv2d":
        return _convolution(node, given, key_of)
    if name == "linear":
        return _dense(node, given, key_of)
    return _normed(node, given, key_of) if name in _NORMS else None


_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")


def _convolution(node: fx.Node, given: Node, key_of: KeyOf) -> Node | None:
    """``conv2d(input, weight, bias, stride, padding, dilation, groups)``."""
    weight, bias = key_of(node.args[1]), key_of(argument(node, 2, None))
    if weight is None or len(shape_of(node.args[1])) != 4:
        return None
    pads: Pads | None = NO_PADS
    if given.kind == "pad" and isinstance(given.facts[0], Pads):
        pads, given = given.facts[0], given.inputs[0]
    outputs, per_group, rows, columns = shape_of(node.args[1])
    stride, dilation = pair(argument(node, 3, 1)), pair(argument(node, 5, 1))
    groups = int(argument(node, 6, 1))
    kind, facts = layer_kind(
        (rows, columns), stride, dilation, per_group * groups, outputs, groups,
        on_a_place=all(side == 1 for side in shape_of(node.args[0])[2:]),
    )  # fmt: skip
    pads = padded(pads, argument(node, 4, 0), (rows, columns), dilation)
    layer = ModuleLayer(weight, bias, 4)
    return Node(kind, facts, (given,), place_of(node), layer=layer, pads=pads)


def _dense(node: fx.Node, given: Node, key_of: KeyOf) -> Node | None:
    """``linear(input, weight, bias)``."""
    weight, bias = key_of(node.args[1]), key_of(argument(node, 2, None))
    if weight is None:
        return None
    outputs, inputs = shape_of(node.args[1])
    layer = ModuleLayer(weight, bias, 2)
    return Node("dense", (inputs, outputs), (given,), place_of(node), layer=layer)


def _normed(node: fx.Node, given: Node, key_of: KeyOf) -> Node | None:
    """``batch_norm(input, weight, bias, mean, variance, training, momentum, epsilon, ...)``.

    One that is the only one to look at a layer, and takes its running statistics, is a part of it.
    """
    layer = given.layer
    if not isinstance(layer, ModuleLayer) or layer.norm is not None:
        return None
    weight, bias, mean, variance = (key_of(arg) for arg in node.args[1:5])
    alone = len(getattr(node.args[0], "users", ())) == 1
    fixed = "no_training" in str(node.target)
    if mean is None or variance is None or not alone or (not fixed and node.args[5]):
        return None
    epsilon = float(str(node.args[6 if fixed else 7]))
    norm = ModuleNorm(weight, bias, mean, variance, epsilon)
    return replace(given, layer=replace(layer, norm=norm))
