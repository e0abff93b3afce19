"""The canonical graph of a network of :mod:`genmobilenet`, from its layers alone."""

from __future__ import annotations

from porting.graph.layers import Layer, NetworkLayers
from porting.graph.node import Graph, ModuleLayer, ModuleNorm, Node, Tap, layer_kind


def graph_of_network(layers: NetworkLayers, side: int, epsilon: float) -> Graph:
    """The graph of a network, on images of ``side`` pixels, up to its logits.

    ``epsilon`` is that of its batch norms. Taps are module paths; a layer with an activation has
    two, before and behind it.
    """
    builder = _Builder(side, epsilon)
    x = builder.layer(layers.stem, Node("input", place="the input"))
    for block in layers.blocks:
        entry, path = x, block.block.path
        for role, layer in block.main.items():
            if role == "project" and block.squeeze:
                gate = builder.mean(x, f"{path}.se.pool")
                for squeeze in block.squeeze:
                    gate = builder.layer(squeeze, gate, on_one_pixel=True)
                expected = f"{path}.se.gate ({layers.gate})"
                gate = builder.shown(f"{path}.se.gate", layers.gate, gate, place=expected)
                x = builder.shown(
                    f"{path}.se", "mul", x, gate, place=f"{path}.se (scaling by the gate)"
                )
            x = builder.layer(layer, x)
        if block.block.residual:
            x = builder.shown(path, "add", x, entry, place=f"the residual sum of {path}")
    head = layers.head
    if head is not None and not layers.pools_first:
        x = builder.layer(head, x)
    x = builder.mean(x, "global_pool")
    if head is not None and layers.pools_first:
        x = builder.layer(head, x, on_one_pixel=True)
    return Graph(builder.layer(layers.classifier, x, on_one_pixel=True), builder.taps)


class _Builder:
    """Nodes of a network, and the paths at which their values can be seen."""

    def __init__(self, side: int, epsilon: float) -> None:
        self._side, self._epsilon = side, epsilon
        self.taps: dict[Node, Tap] = {}

    def layer(self, layer: Layer, x: Node, on_one_pixel: bool = False) -> Node:
        """A layer, with its batch norm and its activation."""
        kind, facts = layer_kind(
            (layer.kernel,) * 2, (layer.stride,) * 2, (1, 1), layer.in_channels,
            layer.out_channels, layer.in_channels if layer.kind == "depthwise" else 1,
            on_one_pixel=on_one_pixel or self._side == 1,
        )  # fmt: skip
        if not on_one_pixel:
            self._side = -(-self._side // layer.stride)
        norm, bias = None, None if layer.norm else f"{layer.path}.bias"
        if path := layer.norm:
            norm = ModuleNorm(
                f"{path}.weight", f"{path}.bias", f"{path}.running_mean", f"{path}.running_var",
                self._epsilon,
            )  # fmt: skip
        keys = ModuleLayer(f"{layer.path}.weight", bias, len(layer.weight_shape), norm)
        node = Node(kind, facts, (x,), layer.describe(), keys)
        self.taps[node] = Tap(layer.norm or layer.path)
        if layer.activation == "none":
            return node
        return self.shown(layer.tap, layer.activation, node, place=layer.describe())

    def mean(self, x: Node, path: str) -> Node:
        """The mean over height and width; over a single place it is the value itself."""
        if self._side == 1:
            return x
        expected = f"{path} (mean over height and width)"
        return self.shown(path, "mean over height and width", x, place=expected)

    def shown(self, path: str, kind: str, *operands: Node, place: str) -> Node:
        """A node whose value the network has at ``path``."""
        node = Node(kind, (), operands, place)
        self.taps[node] = Tap(path)
        return node
