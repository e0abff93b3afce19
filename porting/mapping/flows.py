"""Between which taps each weight of a network works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from porting.mapping.layers import Layer, NetworkLayers
from porting.mapping.structure.node import ModuleNorm

ENTRY = "input"
"""What flows into the network itself, in place of a tap."""


@dataclass(frozen=True)
class LayerFlow:
    """One convolution or dense layer, and the taps before and behind it.

    ``weight`` and ``bias`` are state-dict keys, ``entry`` the tap of what flows in, ``results``
    the taps that show what comes out, the nearest first. ``clamped`` are those of them that stand
    behind an activation, where a channel may be cut off for all inputs.
    """

    weight: str
    bias: str | None
    depthwise: bool
    entry: str
    results: tuple[str, ...]
    clamped: frozenset[str]
    norm: ModuleNorm | None = None


def flows_of(layers: NetworkLayers, epsilon: float) -> Iterator[LayerFlow]:
    """The flow of every layer; ``epsilon`` is that of the network's batch norms."""

    def flow(layer: Layer, entry: str, *behind: str) -> LayerFlow:
        norm = layer.norm
        results = dict.fromkeys((layer.path, *([norm] if norm else ()), layer.tap, *behind))
        clamped = (
            {layer.tap, *behind} - {layer.path, norm} if layer.activation != "none" else {*behind}
        )
        keys = (
            None
            if norm is None
            else ModuleNorm(
                f"{norm}.weight",
                f"{norm}.bias",
                f"{norm}.running_mean",
                f"{norm}.running_var",
                epsilon,
            )
        )
        bias = f"{layer.path}.bias" if norm is None else None
        return LayerFlow(
            f"{layer.path}.weight", bias, layer.kind == "depthwise", entry, tuple(results),
            frozenset(clamped), keys,
        )  # fmt: skip

    yield flow(layers.stem, ENTRY)
    data = layers.stem.tap
    for block in layers.blocks:
        path = block.block.path
        for role, layer in block.main.items():
            if role == "project" and block.squeeze:
                reduce, expand = block.squeeze
                yield flow(reduce, f"{path}.se.pool")
                yield flow(expand, reduce.tap, f"{path}.se.gate")
                data = f"{path}.se"
            yield flow(layer, data)
            data = layer.tap
        data = path if block.block.residual else data
    if layers.head is not None and not layers.pools_first:
        yield flow(layers.head, data)
    data = "global_pool"
    if layers.head is not None and layers.pools_first:
        yield flow(layers.head, data)
        data = layers.head.tap
    # A softmax spreads over all classes, and cuts none of them off.
    yield replace(flow(layers.classifier, data, "softmax"), clamped=frozenset())
