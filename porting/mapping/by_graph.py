"""Aligning a source's graph with a network, operator by operator.

The walk starts at the graph's input and follows the data. At each layer of the
network the operator that consumes the data must be of the layer's kind, with
its kernel, stride, channels and activation; nothing is matched by name or by
shape alone. The first place where the two differ is named on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from porting.errors import MappingError
from porting.mapping.layers import BlockLayers, Layer, NetworkLayers
from porting.mapping.layouts import (
    CONV_TFLITE,
    DENSE_AS_CONV_TFLITE,
    DENSE_TFLITE,
    DEPTHWISE_TFLITE,
    VECTOR,
)
from porting.mapping.operators import (
    OperatorFacts,
    averages_space,
    describe,
    facts_of,
    is_constant,
    stored_name,
)
from porting.mapping.plan import Fill, LeftOut, Plan
from porting.sources.source import Operator, Source

_AFFINE = ("SUB", "ADD", "MUL", "DIV")
_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
_KINDS = {
    "conv": ("CONV_2D",),
    "depthwise": ("DEPTHWISE_CONV_2D",),
    "dense": ("FULLY_CONNECTED", "CONV_2D"),
}


class GraphMismatch(MappingError):
    """Graph and network part ways; ``depth`` layers agreed before."""

    def __init__(self, message: str, depth: int) -> None:
        super().__init__(message)
        self.depth = depth


@dataclass(frozen=True)
class Pair:
    """A layer and the operator that computes it, with the tensors it holds."""

    layer: Layer
    operator: Operator
    weight: str
    bias: str | None
    layout: str


@dataclass
class Alignment:
    """What the walk found.

    ``taps`` pairs a module path of the network with the tensor that holds the
    same values in the graph; ``data`` is the tensor that the network's input
    stands for, behind any normalisation in the graph, whose steps are
    ``normalisation`` (operator, constant).
    """

    data: str
    pairs: list[Pair] = field(default_factory=list)
    taps: list[tuple[str, str]] = field(default_factory=list)
    normalisation: list[tuple[str, str]] = field(default_factory=list)
    visited: set[int] = field(default_factory=set)
    parameters: dict[str, str] = field(default_factory=dict)
    asymmetric: list[str] = field(default_factory=list)


def align(source: Source, layers: NetworkLayers) -> Alignment:
    """Walk graph and network together.

    Raises:
        GraphMismatch: at the first place where they differ.
    """
    return _Walk(source, layers).run()


class _Walk:
    def __init__(self, source: Source, layers: NetworkLayers) -> None:
        if source.graph is None:
            raise MappingError(f"{source.path}: has no graph to align with")
        self.source, self.graph, self.layers = source, source.graph, layers
        self.consumers: dict[str, list[Operator]] = {}
        for operator in self.graph.operators:
            for name in dict.fromkeys(operator.inputs):
                if name is not None:
                    self.consumers.setdefault(name, []).append(operator)
        self.cursor = self.graph.inputs[0] if self.graph.inputs else ""
        self.found = Alignment(self.cursor)

    def run(self) -> Alignment:
        self.normalisation()
        self.layer(self.layers.stem)
        for block in self.layers.blocks:
            self.block(block)
        self.layer(self.layers.head)
        self.pool("global_pool")
        self.layer(self.layers.classifier)
        self.tail()
        return self.found

    def fail(self, found: str, expected: str) -> GraphMismatch:
        depth = len(self.found.pairs)
        return GraphMismatch(
            f"{self.source.path}: graph and network differ after {depth} layers in agreement:\n"
            f"  graph:   {found}\n  network: {expected}",
            depth,
        )

    def take(self, kinds: tuple[str, ...], expected: str) -> Operator:
        """The operator of one of these kinds that consumes the data here."""
        following = self.consumers.get(self.cursor, [])
        for operator in following:
            if operator.kind in kinds and operator.index not in self.found.visited:
                return self.visit(operator)
        found = " and ".join(describe(op, self.source) for op in following)
        raise self.fail(found or f"the end, at {self.cursor!r}", expected)

    def visit(self, operator: Operator) -> Operator:
        self.found.visited.add(operator.index)
        for name in operator.inputs:
            if name is not None and name in self.source.tensors:
                self.found.parameters[name] = operator.kind
        self.cursor = operator.outputs[0]
        return operator

    def peek(self, kinds: tuple[str, ...]) -> Operator | None:
        """The only consumer of the data, if it is of one of these kinds."""
        following = self.consumers.get(self.cursor, [])
        return following[0] if len(following) == 1 and following[0].kind in kinds else None

    def normalisation(self) -> None:
        while (operator := self.peek(_AFFINE)) is not None:
            constants = [n for n in operator.inputs if n and is_constant(n, self.source)]
            if len(constants) != 1 or operator.inputs[0] == constants[0]:
                break
            self.found.normalisation.append((operator.kind, constants[0]))
            self.visit(operator)
        self.found.data = self.cursor

    def layer(self, layer: Layer) -> None:
        if layer.kind == "dense":
            self.skip(_RESHAPES)
        operator = self.take(_KINDS[layer.kind], layer.describe())
        facts = facts_of(operator, self.source)
        self.compare(layer, operator, facts)
        activation = facts.activation
        if activation == "none" and layer.activation == "relu":
            self.take(("RELU",), f"the ReLU behind {layer.path}")
            activation = "relu"
        if activation != layer.activation:
            raise self.fail(describe(operator, self.source), layer.describe())
        weight, bias = facts.weight, facts.bias
        self.found.pairs.append(Pair(layer, operator, weight, bias, self.layout(layer, operator)))
        self.found.taps.append((layer.tap, self.cursor))

    def compare(self, layer: Layer, operator: Operator, facts: OperatorFacts) -> None:
        same = (
            facts.kernel == (layer.kernel, layer.kernel)
            and facts.stride == (layer.stride, layer.stride)
            and facts.dilation == (1, 1)
            and (facts.in_channels, facts.out_channels) == (layer.in_channels, layer.out_channels)
        )
        if not same:
            raise self.fail(describe(operator, self.source), layer.describe())
        if layer.kernel > 1 and facts.padding != "SAME":
            self.found.asymmetric.append(layer.path)

    @staticmethod
    def layout(layer: Layer, operator: Operator) -> str:
        if layer.kind == "dense":
            return DENSE_TFLITE if operator.kind == "FULLY_CONNECTED" else DENSE_AS_CONV_TFLITE
        return DEPTHWISE_TFLITE if layer.kind == "depthwise" else CONV_TFLITE

    def block(self, block: BlockLayers) -> None:
        entry = self.cursor
        for role, layer in block.main.items():
            if role == "project" and block.squeeze:
                self.squeeze(block)
            self.layer(layer)
        if block.block.residual:
            operator = self.take(("ADD",), f"the residual sum of {block.block.path}")
            if entry not in operator.inputs:
                raise self.fail(
                    describe(operator, self.source), f"{block.block.path} adds its input {entry!r}"
                )
            self.found.taps.append((block.block.path, self.cursor))

    def squeeze(self, block: BlockLayers) -> None:
        path, scaled = f"{block.block.path}.se", self.cursor
        self.pool(f"{path}.pool")
        for layer in block.squeeze:
            self.layer(layer)
        self.take(("LOGISTIC",), f"{path}.gate (sigmoid)")
        self.found.taps.append((f"{path}.gate", self.cursor))
        product = self.take(("MUL",), f"{path} (scaling by the gate)")
        if scaled not in product.inputs:
            raise self.fail(describe(product, self.source), f"{path} scales {scaled!r}")
        self.found.taps.append((path, self.cursor))

    def pool(self, path: str) -> None:
        expected = f"{path} (mean over height and width)"
        operator = self.take(("MEAN", "AVERAGE_POOL_2D"), expected)
        if not averages_space(operator, self.source):
            raise self.fail(describe(operator, self.source), expected)
        self.found.taps.append((path, self.cursor))

    def skip(self, kinds: tuple[str, ...]) -> None:
        while (operator := self.peek(kinds)) is not None:
            self.visit(operator)

    def tail(self) -> None:
        """Nothing but reshapes and a softmax may follow the classifier."""
        self.skip(_RESHAPES)
        if (softmax := self.peek(("SOFTMAX",))) is not None:
            self.visit(softmax)
            self.found.taps.append(("softmax", self.cursor))
            self.skip(_RESHAPES)
        for operator in self.graph.operators:
            if operator.index in self.found.visited:
                continue
            if operator.kind != "DEQUANTIZE" or not is_constant(operator.outputs[0], self.source):
                raise self.fail(describe(operator, self.source), "nothing further")
            self.visit(operator)


def plan_by_graph(
    source: Source, model: str, alignment: Alignment, weight_set: str, first_row: int = 0
) -> Plan:
    """Plan a port from an alignment. Batch norm, folded in the source, becomes an identity."""
    fills = [fill for pair in alignment.pairs for fill in _fills(pair, first_row)]
    used = {fill.source for fill in fills}
    left_out = [
        LeftOut(name, f"parameter of {alignment.parameters[name]}")
        if name in alignment.parameters
        else LeftOut(name, "not used by the graph")
        for name in source.tensors
        if name not in used
    ]
    return Plan(model, "graph", weight_set, tuple(fills), tuple(left_out))


def _fills(pair: Pair, first_row: int) -> Iterator[Fill]:
    layer = pair.layer
    rows = first_row if layer.kind == "dense" else 0
    yield Fill(f"{layer.path}.weight", pair.weight, pair.layout, first_row=rows)
    key = f"{layer.norm or layer.path}.bias"
    if pair.bias is None:
        yield Fill(key, constant="zeros")
    else:
        yield Fill(key, pair.bias, VECTOR, first_row=rows)
    if layer.norm is not None:
        yield Fill(f"{layer.norm}.weight", constant="ones")
        yield Fill(f"{layer.norm}.running_mean", constant="zeros")
        yield Fill(f"{layer.norm}.running_var", constant="unit variance")
        yield Fill(f"{layer.norm}.num_batches_tracked", constant="zeros")


def normalisation_of(source: Source, alignment: Alignment) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset that the graph applies to its input, in float64."""
    scale, offset = np.ones(1), np.zeros(1)
    for kind, name in alignment.normalisation:
        constant = source.read(stored_name(name, source)).astype(np.float64)
        if kind in ("MUL", "DIV"):
            factor = constant if kind == "MUL" else 1.0 / constant
            scale, offset = scale * factor, offset * factor
        else:
            offset = offset + constant if kind == "ADD" else offset - constant
    return scale, offset
