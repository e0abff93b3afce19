"""A value of a graph, and what computes it from others."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from porting.mapping.padding import NO_PADS, Pads
from porting.mapping.walk import Norm

WEIGHTED = ("conv", "depthwise", "dense")
COMMUTATIVE = ("add", "mul")
_BINARY = ("add", "sub", "mul", "div")


def takes(kind: str) -> int:
    """How many values an operator of data alone takes."""
    return 2 if kind in _BINARY else 1


@dataclass(frozen=True)
class SourceLayer:
    """The tensors of a layer in a source.

    ``axes`` are the weight's as in :mod:`porting.mapping.layouts`; ``offset`` is
    what the source has added to the bias.
    """

    weight: str
    bias: str | None
    axes: str
    norm: Norm | None = None
    offset: float = 0.0


@dataclass(frozen=True)
class ModuleNorm:
    """State-dict keys of a module's batch norm; None for what it goes without."""

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
    outputs: int, groups: int, *, on_a_place: bool,
) -> tuple[str, tuple[Hashable, ...]]:  # fmt: skip
    """Kind and facts of a layer; a convolution of a single place is a dense layer."""
    if on_a_place and kernel == (1, 1) and groups == 1:
        return "dense", (inputs, outputs)
    kind = "depthwise" if groups == inputs > 1 else "conv"
    return kind, (kernel, stride, dilation, inputs, outputs, groups)


@dataclass(frozen=True, eq=False)
class Node:
    """One value, and what computes it.

    Two values with equal ``kind`` and ``facts`` of inputs that compute the same
    compute the same but for their weights. ``place`` tells people where it is,
    ``value`` names the tensor that shows it in the source, where one does.
    ``pads`` are no fact: a convolution that pads otherwise has its weights all the same.
    ``factor`` is how many times a hard sigmoid's 1/6 the source multiplies by.
    """

    kind: str
    facts: tuple[Hashable, ...] = ()
    inputs: tuple[Node, ...] = ()
    place: str = ""
    value: str | None = None
    layer: SourceLayer | ModuleLayer | None = None
    pads: Pads | None = NO_PADS
    factor: float = field(default=1.0)

    @property
    def weighted(self) -> bool:
        """Whether it is a convolution or a dense layer."""
        return self.kind in WEIGHTED


@dataclass(frozen=True)
class Structure:
    """A graph from its input to its output, as nodes.

    ``normalises`` says that a module turns pixels 0..255 into its input itself.
    """

    output: Node
    normalises: bool = False

    def nodes(self) -> tuple[Node, ...]:
        """Every node that the output needs, inputs before what is made of them."""
        return tuple(in_order(self.output))


def in_order(output: Node) -> Iterator[Node]:
    """All nodes below and with ``output``, each once, inputs first."""
    seen: set[int] = set()
    pending = [(output, False)]
    while pending:
        node, ready = pending.pop()
        if ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            pending.append((node, True))
            pending += [(given, False) for given in reversed(node.inputs)]
