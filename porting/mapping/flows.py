"""Between which taps each weight of a network works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from porting.graph.node import Graph, ModuleLayer, ModuleNorm, Node
from porting.mapping.ends import SOFTMAX

ENTRY = "input"
"""What flows into the network itself, in place of a tap."""

_ACTIVATIONS = (
    "relu", "relu6", "clamp", "hard_swish", "hard_sigmoid", "sigmoid", "silu", "tanh",
)  # fmt: skip


@dataclass(frozen=True)
class LayerFlow:
    """One convolution or dense layer, and the taps before and behind it.

    ``weight`` and ``bias`` are state-dict keys; a depthwise layer makes ``multiplier`` channels of
    each, one behind the other. ``entry`` is the tap of what flows in, ``results`` are
    the taps that show what comes out, the nearest first. ``clamped`` are those of them that stand
    behind an activation, where a channel may be cut off for all inputs. The source's layer gives
    ``scale`` times what this one gives, plus ``offset``, where an exporter has moved a part of the
    activation into it.
    """

    weight: str
    bias: str | None
    depthwise: bool
    entry: str
    results: tuple[str, ...]
    clamped: frozenset[str]
    norm: ModuleNorm | None = None
    scale: float = 1.0
    offset: float = 0.0
    multiplier: int = 1


def flows_of(network: Graph, names: Mapping[Node, str]) -> Iterator[LayerFlow]:
    """The flow of every layer of a network, whose taps have these names."""
    consumers: dict[Node, list[Node]] = {}
    for node in network.nodes():
        for operand in node.inputs:
            consumers.setdefault(operand, []).append(node)
    for node in network.nodes():
        layer = node.layer
        if not isinstance(layer, ModuleLayer):
            continue
        behind = [n for n in consumers.get(node, ()) if n.kind in _ACTIVATIONS and n in names]
        results = [layer.weight.removesuffix(".weight")]
        results += [names[n] for n in (node, *behind) if n in names]
        if node is network.output:
            # A softmax spreads over all classes, and cuts none of them off.
            results.append(SOFTMAX)
        (entry,) = node.inputs
        depthwise, multiplier = node.kind == "depthwise", 1
        if depthwise:
            *_, inputs, outputs, _groups = node.facts
            assert isinstance(inputs, int) and isinstance(outputs, int)
            multiplier = outputs // inputs
        yield LayerFlow(
            layer.weight, layer.bias, depthwise,
            ENTRY if entry.kind == "input" else names.get(entry, ""),
            tuple(dict.fromkeys(results)), frozenset(names[n] for n in behind), layer.norm,
            multiplier=multiplier,
        )  # fmt: skip
