"""Operators that TensorFlow writes as several: a bias behind its layer, a batch norm in pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from porting.sources.graphdef.constants import Constants
from porting.sources.graphdef.flat import FlatGraph, FlatNode
from porting.sources.source import Operator

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_ADDITIONS = ("Add", "AddV2")


class _Draft(NamedTuple):
    kind: str
    inputs: tuple[str | None, ...]
    output: str
    options: Mapping[str, Any]


class Merged:
    """Operators in order, each merged with the one before where the two are one step.

    ``takers`` counts the operators that take a tensor: only what nobody else
    takes may be merged away.
    """

    def __init__(self, graph: FlatGraph, constants: Constants) -> None:
        self._graph, self._constants = graph, constants
        self.takers: Counter[str] = Counter()
        self._made: dict[str, _Draft] = {}

    def operators(self) -> tuple[Operator, ...]:
        """All operators, numbered."""
        return tuple(
            Operator(number, made.kind, made.inputs, (made.output,), made.options)
            for number, made in enumerate(self._made.values())
        )

    def add(
        self, kind: str, inputs: tuple[str | None, ...], output: str, options: Mapping[str, Any]
    ) -> None:
        """Add an operator behind the others."""
        made = _Draft(kind, inputs, output, options)
        if kind == "ADD" and len(inputs) == 2:
            made = self._with_addition(made)
        self._made[made.output] = made

    def _with_addition(self, made: _Draft) -> _Draft:
        data, added = self._sides(made.inputs)
        before = self._made.get(data or "")
        if before is None or added is None or self.takers[before.output] != 1:
            return made
        if before.kind in _LAYERS and before.inputs[2] is None and self._fits(added, before):
            del self._made[before.output]
            return _Draft(before.kind, (*before.inputs[:2], added), made.output, before.options)
        norm = self._norm(before, added) if before.kind == "MUL" else None
        if norm is None:
            return made
        del self._made[before.output]
        return norm._replace(output=made.output)

    def _norm(self, product: _Draft, added: str) -> _Draft | None:
        """``data * scale + shift``, where these are a batch norm's, or of a convolution alone."""
        data, scale = self._sides(product.inputs)
        before = self._made.get(data or "")
        if data is None or scale is None or before is None or before.kind not in _LAYERS[:2]:
            return None
        parts = self._pieces(scale, added)
        if parts is not None:
            *given, epsilon = parts
            return _Draft("BATCH_NORM", (data, *given), "", {"epsilon": epsilon})
        if self._fits(scale, before) and self._fits(added, before):
            return _Draft("BATCH_NORM", (data, scale, added, None, None), "", {"epsilon": None})
        return None

    def _pieces(self, scale: str, shift: str) -> tuple[str | None, str, str, str, float] | None:
        """Gamma, beta, mean, variance and epsilon of ``tf.nn.batch_normalization``.

        ``scale`` is rsqrt(variance + epsilon) * gamma, ``shift`` is beta - mean * scale.
        """
        gamma, root = None, self._node(scale, "Rsqrt")
        if root is None and (product := self._node(scale, "Mul")) is not None:
            for one, other in (product.inputs[:2], product.inputs[1::-1]):
                if (root := self._node(one, "Rsqrt")) is not None:
                    gamma = self._constants.name(other)
                    break
        inner = None if root is None else self._node(root.inputs[0], *_ADDITIONS)
        outer = self._node(shift, "Sub")
        moved = None if outer is None else self._node(outer.inputs[1], "Mul")
        if inner is None or outer is None or moved is None:
            return None
        names = [self._constants.name(tensor) for tensor in moved.inputs]
        if names.count(scale) != 1:
            return None
        mean = names[1 - names.index(scale)]
        stated = [self._constants.values(tensor) for tensor in inner.inputs]
        single = [i for i, values in enumerate(stated) if values is not None and values.size == 1]
        if len(single) != 1:
            return None
        variance = self._constants.name(inner.inputs[1 - single[0]])
        epsilon = stated[single[0]]
        assert epsilon is not None
        beta = self._constants.name(outer.inputs[0])
        return gamma, beta, mean, variance, float(epsilon.ravel()[0])

    def _sides(self, inputs: tuple[str | None, ...]) -> tuple[str | None, str | None]:
        """Of two operands the data and the constant; None for one that is not there."""
        if len(inputs) != 2 or None in inputs:
            return None, None
        constant = [name for name in inputs if name and self._constants.is_constant(name)]
        if len(constant) != 1:
            return None, None
        return inputs[1 - inputs.index(constant[0])], constant[0]

    def _fits(self, name: str, layer: _Draft) -> bool:
        """Whether a constant is a vector of as many numbers as a layer makes channels."""
        weight = layer.inputs[1]
        if weight is None or not self._constants.is_constant(weight):
            return False
        sides = self._constants.info(weight).shape
        axes = str(layer.options["weight_axes"]).split()
        if len(sides) != len(axes):
            return False
        depthwise = layer.kind == "DEPTHWISE_CONV_2D"
        made = sides[-1] * (sides[-2] if depthwise else 1) if "o" not in axes[:1] else sides[0]
        shape = self._constants.info(name).shape
        return shape[-1:] == (made,) and all(side == 1 for side in shape[:-1])

    def _node(self, tensor: str, *ops: str) -> FlatNode | None:
        node = self._graph.producer(tensor)
        if node is None or node.op not in ops:
            return None
        return node if len(node.inputs) == (1 if node.op == "Rsqrt" else 2) else None
