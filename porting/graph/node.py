"""Nodes and graphs: values, and the operations that compute them from other values."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from porting.graph.padding import Padding

WEIGHTED = ("conv", "depthwise", "dense")
NORM = "norm"
"""A batch norm that is no part of a layer: behind a concatenation or a sum, or before a layer."""
COMMUTATIVE = ("add", "mul")
_BINARY = ("add", "sub", "mul", "div")


def takes(kind: str) -> int:
    """How many operands an operator without weights takes."""
    return 2 if kind in _BINARY else 1


@dataclass(frozen=True)
class SourceNorm:
    """The tensors of a batch norm that a source keeps apart from its convolution.

    A tensor that the operator lacks is None; without statistics it only scales and adds.
    """

    gamma: str | None
    beta: str | None
    mean: str | None
    variance: str | None
    epsilon: float | None


@dataclass(frozen=True)
class SourceLayer:
    """The tensors of a layer in a source.

    ``axes`` are the weight's as in :mod:`porting.mapping.layouts`. Where an exporter has moved a
    part of the activation behind into the layer, the source's layer gives ``scale`` times the
    canonical one's result, plus ``offset``.
    """

    weight: str
    bias: str | None
    axes: str
    norm: SourceNorm | None = None
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class ModuleNorm:
    """State-dict keys of a module's batch norm; None for a parameter that it lacks."""

    weight: str | None
    bias: str | None
    mean: str
    variance: str
    epsilon: float


@dataclass(frozen=True)
class ModuleLayer:
    """State-dict keys of a layer in a module, and the weight's axes (4: OIHW, 2: OI)."""

    weight: str
    bias: str | None
    axes: int
    norm: ModuleNorm | None = None


def layer_kind(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], inputs: int,
    outputs: int, groups: int, *, on_one_pixel: bool,
) -> tuple[str, tuple[Hashable, ...]]:  # fmt: skip
    """Kind and facts of a layer; a 1x1 convolution on a single pixel is a dense layer."""
    if on_one_pixel and kernel == (1, 1) and groups == 1:
        return "dense", (inputs, outputs)
    kind = "depthwise" if groups == inputs > 1 else "conv"
    return kind, (kernel, stride, dilation, inputs, outputs, groups)


@dataclass(frozen=True, eq=False)
class Node:
    """One value, and what computes it.

    Two values with equal ``kind`` and ``facts`` of inputs that compute the same
    compute the same but for their weights. ``place`` says for messages where it is and what
    computes it. ``padding`` is not a fact: a convolution that pads otherwise has its weights
    all the same. ``times`` is how many times its canonical value a layer's input is: the layer's
    weights take that in.
    """

    kind: str
    facts: tuple[Hashable, ...] = ()
    inputs: tuple[Node, ...] = ()
    place: str = ""
    layer: SourceLayer | ModuleLayer | SourceNorm | ModuleNorm | None = None
    padding: Padding | None = None
    times: float = 1.0

    @property
    def norm(self) -> SourceNorm | ModuleNorm | None:
        """The batch norm in a layer, or that the node itself is."""
        layer = self.layer
        return layer.norm if isinstance(layer, (SourceLayer, ModuleLayer)) else layer

    @property
    def weighted(self) -> bool:
        """Whether it is a convolution or a dense layer."""
        return self.kind in WEIGHTED


class NodeTable:
    """The nodes of one graph, each once: equal operations on equal operands share a node."""

    def __init__(self) -> None:
        self._by_content: dict[Hashable, Node] = {}
        self._known: set[Node] = set()

    def unique(self, node: Node) -> Node:
        """The node of this graph that is the same operation on the same operands as ``node``."""
        if node in self._known:
            return node
        inputs = tuple(self.unique(operand) for operand in node.inputs)
        content = (node.kind, node.facts, inputs, node.layer, node.padding, node.times)
        same = inputs == node.inputs
        first = self._by_content.setdefault(content, node if same else replace(node, inputs=inputs))
        self._known.add(first)
        return first


@dataclass(frozen=True)
class Value:
    """A tensor that operators pass on: a node's canonical value, multiplied by ``times``."""

    node: Node
    times: float = 1.0


@dataclass(frozen=True)
class Tap:
    """Where a node's value can be seen by name; what is seen there is ``times`` the value."""

    name: str
    times: float = 1.0


@dataclass(frozen=True)
class Graph:
    """A computation from its input to its output, as nodes.

    ``taps`` says where values can be seen by name. ``normalises`` says that a module turns pixels
    0..255 into its input itself.
    """

    output: Node
    taps: Mapping[Node, Tap] = field(default_factory=dict)
    normalises: bool = False

    def nodes(self) -> tuple[Node, ...]:
        """Every node that the output needs, operands first."""
        return tuple(in_order(self.output))


def in_order(output: Node) -> Iterator[Node]:
    """All nodes below and with ``output``, each once, inputs first."""
    history: set[int] = set()
    pending = [(output, False)]
    while pending:
        node, complete = pending.pop()
        if complete:
            yield node
        elif id(node) not in history:
            history.add(id(node))
            pending.append((node, True))
            pending += [(operand, False) for operand in reversed(node.inputs)]
