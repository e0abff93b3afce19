"""Aligning a source's graph with a network, operator by operator.

The walk starts at the graph's input and follows the data. At each layer of the
network the operator that takes the data must be of the layer's kind, with its
kernel, stride, padding, channels and activation; nothing is matched by name or
by shape alone. The first place where the two differ is named on both sides.
"""

from __future__ import annotations

from dataclasses import replace

from porting.mapping.activations import take_activation, take_gate
from porting.mapping.batch_norms import take_norm
from porting.mapping.layers import BlockLayers, Layer, NetworkLayers
from porting.mapping.layouts import layout_onto
from porting.mapping.normalisation import take_normalisation
from porting.mapping.operators import (
    OperatorFacts,
    averages_space,
    describe,
    facts_of,
    is_constant,
    is_plain,
)
from porting.mapping.padding import padding_of, take_pads
from porting.mapping.walk import CASTS, Alignment, Pair, Walk
from porting.sources.source import Operator, Source

_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
_KINDS = {
    "conv": ("CONV_2D",),
    "depthwise": ("DEPTHWISE_CONV_2D",),
    "dense": ("FULLY_CONNECTED", "CONV_2D"),
}


def align(source: Source, layers: NetworkLayers, padding: str, epsilon: float) -> Alignment:
    """Walk graph and network together; ``padding`` and batch-norm ``epsilon`` are the network's.

    Raises:
        GraphMismatch: at the first place where they differ.
    """
    walk = Walk(source)
    take_normalisation(walk, layers.stem.in_channels)
    _Network(walk, padding, epsilon).run(layers)
    _tail(walk)
    return walk.found


class _Network:
    def __init__(self, walk: Walk, padding: str, epsilon: float) -> None:
        self.walk, self.padding, self.epsilon = walk, padding, epsilon

    def run(self, layers: NetworkLayers) -> None:
        self.layer(layers.stem)
        for block in layers.blocks:
            self.block(block, layers.gate)
        if layers.head is not None and not layers.pools_first:
            self.layer(layers.head)
        self.pool("global_pool")
        if layers.head is not None and layers.pools_first:
            self.walk.skip(*_RESHAPES)
            self.layer(layers.head)
            self.second_pool()
        self.layer(layers.classifier)

    def layer(self, layer: Layer) -> None:
        walk = self.walk
        if _on_a_place(layer):
            walk.skip(*_RESHAPES)
        sides = self.sides()
        pads = take_pads(walk, layer)
        operator = walk.take(_kinds(layer), layer.describe())
        facts = facts_of(operator, walk.source)
        self.compare(layer, operator, facts)
        fits = padding_of(facts.padding, pads, sides, layer)
        if self.padding not in fits:
            found = f"{describe(operator, walk.source)}, padding {facts.padding}"
            if pads is not None:
                found += f" behind an explicit one of {pads}"
            raise walk.fail(found, f"{layer.describe()}, padding {self.padding}")
        norm = take_norm(walk, layer, operator, self.epsilon)
        before, last = walk.cursor, operator if norm is None else norm.operator
        if take_activation(walk, last, layer.activation, layer.describe()):
            # The graph shows the layer before its activation too.
            walk.found.taps.append((layer.norm or layer.path, before))
        layout = layout_onto(operator.weight_axes, layer.kind)
        walk.found.pairs.append(Pair(layer, operator, facts.weight, facts.bias, layout, norm))
        walk.tap(layer.tap)

    def sides(self) -> tuple[int, ...]:
        """Height and width of the data here."""
        info = self.walk.source.activations.get(self.walk.cursor)
        return info.shape[1:3] if info is not None and len(info.shape) == 4 else (0, 0)

    def compare(self, layer: Layer, operator: Operator, facts: OperatorFacts) -> None:
        same = (
            facts.kernel == (layer.kernel, layer.kernel)
            and facts.stride == (layer.stride, layer.stride)
            and facts.dilation == (1, 1)
            and (facts.in_channels, facts.out_channels) == (layer.in_channels, layer.out_channels)
        )
        if not same:
            raise self.walk.fail(describe(operator, self.walk.source), layer.describe())

    def block(self, block: BlockLayers, gate: str) -> None:
        walk = self.walk
        entry = walk.cursor
        for role, layer in block.main.items():
            if role == "project" and block.squeeze:
                self.squeeze(block, gate)
            self.layer(layer)
        if block.block.residual:
            expected = f"the residual sum of {block.block.path}"
            operator = walk.take(("ADD",), expected)
            if entry not in operator.inputs or not is_plain(operator):
                found = describe(operator, walk.source)
                raise walk.fail(found, f"{block.block.path} adds its input {entry!r}")
            walk.tap(block.block.path)

    def squeeze(self, block: BlockLayers, gate: str) -> None:
        walk, path = self.walk, f"{block.block.path}.se"
        scaled = walk.cursor
        self.pool(f"{path}.pool")
        reduce, expand = block.squeeze
        self.layer(reduce)
        lifted = gate == "hard_sigmoid" and self.lifted(expand)
        if not lifted:
            self.layer(expand)
        walk.found.factors[block.main["project"].path] = take_gate(walk, path, gate, lifted)
        walk.tap(f"{path}.gate")
        walk.skip(*_RESHAPES)
        product = walk.take(("MUL",), f"{path} (scaling by the gate)")
        if scaled not in product.inputs or not is_plain(product):
            raise walk.fail(describe(product, walk.source), f"{path} scales {scaled!r}")
        walk.tap(path)

    def lifted(self, layer: Layer) -> bool:
        """Go past a convolution that has the hard sigmoid's ``relu6(x + 3)`` in itself.

        Converters add the 3 to the bias, and fuse the clamp.
        """
        operator = self.walk.next(*_kinds(layer))
        if operator is None or operator.options.get("activation") != "relu6":
            return False
        self.layer(replace(layer, activation="relu6"))
        self.walk.found.taps.pop()  # the network's layer ends before the clamp
        self.walk.found.offsets[layer.path] = 3.0
        return True

    def pool(self, path: str) -> None:
        walk = self.walk
        expected = f"{path} (mean over height and width)"
        operator = walk.take(("MEAN", "AVERAGE_POOL_2D"), expected)
        if not averages_space(operator, walk.source):
            raise walk.fail(describe(operator, walk.source), expected)
        walk.tap(path)

    def second_pool(self) -> None:
        """slim pools once more before the logits, where but one place is left."""
        operator = self.walk.only("MEAN", "AVERAGE_POOL_2D")
        if operator is not None and self.sides() == (1, 1):
            self.pool("flatten")


def _kinds(layer: Layer) -> tuple[str, ...]:
    return _KINDS["dense"] if _on_a_place(layer) else _KINDS[layer.kind]


def _on_a_place(layer: Layer) -> bool:
    """Behind the pooling a convolution of one place is a dense layer too."""
    return layer.kind == "dense" or (layer.kind == "conv" and layer.norm is None)


def _tail(walk: Walk) -> None:
    """Nothing but reshapes and a softmax may follow the classifier."""
    walk.skip(*_RESHAPES)
    if (softmax := walk.only("SOFTMAX")) is not None:
        walk.visit(softmax)
        walk.tap("softmax")
    walk.skip(*_RESHAPES, *CASTS)
    for operator in walk.graph.operators:
        if operator.index in walk.found.visited:
            continue
        if not is_constant(operator.outputs[0], walk.source):
            raise walk.fail(describe(operator, walk.source), "nothing further")
        walk.visit(operator)
