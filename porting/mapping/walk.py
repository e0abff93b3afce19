"""Walking along a source's graph: where the data stands, and what takes it next."""

from __future__ import annotations

from dataclasses import dataclass, field

from porting.errors import MappingError
from porting.mapping.layers import Layer
from porting.mapping.operators import describe
from porting.sources.source import Operator, Source

CASTS = ("QUANTIZE", "DEQUANTIZE", "CAST")
"""Operators that hand the same real values on in another type."""

_TOLD = 4
"""Most operators that a message describes."""


class GraphMismatch(MappingError):
    """Graph and network part ways; ``depth`` layers agreed before."""

    def __init__(self, message: str, depth: int) -> None:
        super().__init__(message)
        self.depth = depth


@dataclass(frozen=True)
class Norm:
    """A batch norm that a graph keeps apart from its convolution, with the tensors it holds.

    What the operator goes without is None.
    """

    operator: Operator
    gamma: str | None
    beta: str | None
    mean: str | None
    variance: str | None


@dataclass(frozen=True)
class Pair:
    """A layer and the operator that computes it, with the tensors it holds.

    ``norm`` is None where the graph has folded the batch norm, or the layer has none.
    """

    layer: Layer
    operator: Operator
    weight: str
    bias: str | None
    layout: str
    norm: Norm | None = None


@dataclass
class Alignment:
    """What the walk found.

    ``taps`` pairs a module path of the network with the tensor that holds the
    same values in the graph; ``data`` is the tensor that the network's input
    stands for, behind any normalisation in the graph, whose steps are
    ``normalisation`` (operator, constant). ``factors`` gives, by the path of a
    projection, how many times the network's gate the graph's before it is;
    ``offsets``, by that of a layer, what the graph has added to its bias.
    """

    data: str
    pairs: list[Pair] = field(default_factory=list)
    taps: list[tuple[str, str]] = field(default_factory=list)
    normalisation: list[tuple[str, str]] = field(default_factory=list)
    visited: set[int] = field(default_factory=set)
    parameters: dict[str, str] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)
    offsets: dict[str, float] = field(default_factory=dict)


class Walk:
    """A place in a graph; ``cursor`` names the tensor that holds the data there."""

    def __init__(self, source: Source) -> None:
        if source.graph is None:
            raise MappingError(f"{source.path}: has no graph to align with")
        self.source, self.graph = source, source.graph
        self.consumers = self.graph.consumers
        self.cursor = self.graph.inputs[0] if self.graph.inputs else ""
        self.found = Alignment(self.cursor)

    def fail(self, found: str, expected: str) -> GraphMismatch:
        """The error for this place."""
        depth = len(self.found.pairs)
        return GraphMismatch(
            f"{self.source.path}: graph and network differ after {depth} layers in agreement:\n"
            f"  graph:   {found}\n  network: {expected}",
            depth,
        )

    def next(self, *kinds: str) -> Operator | None:
        """An operator of one of these kinds that takes the data here, if there is one."""
        self._step_over_casts()
        for operator in self.consumers.get(self.cursor, ()):
            if operator.kind in kinds and operator.index not in self.found.visited:
                return operator
        return None

    def only(self, *kinds: str) -> Operator | None:
        """What takes the data here, if it alone does and is of one of these kinds."""
        self._step_over_casts()
        return self.at_once(*kinds)

    def take(self, kinds: tuple[str, ...], expected: str) -> Operator:
        """Go past the next operator of these kinds.

        Raises:
            GraphMismatch: there is none; what is there is named.
        """
        operator = self.next(*kinds)
        if operator is not None:
            return self.visit(operator)
        raise self.fail(self.ahead(), expected)

    def ahead(self) -> str:
        """For messages: what takes the data here."""
        following = self.consumers.get(self.cursor, ())
        found = " and ".join(describe(op, self.source) for op in following[:_TOLD])
        if len(following) > _TOLD:
            found += f" and {len(following) - _TOLD:,} more"
        return found or f"the end, at {self.cursor!r}"

    def visit(self, operator: Operator) -> Operator:
        """Go past an operator, and note the constants that it uses."""
        self.found.visited.add(operator.index)
        for name in operator.inputs:
            if name is not None and name in self.source.tensors:
                self.found.parameters[name] = operator.kind
        self.cursor = operator.outputs[0]
        return operator

    def skip(self, *kinds: str) -> None:
        """Go past operators of these kinds as long as they alone take the data."""
        while (operator := self.only(*kinds)) is not None:
            self.visit(operator)

    def tap(self, path: str) -> None:
        """The data here is what the network has at ``path``."""
        self.found.taps.append((path, self.cursor))

    def _step_over_casts(self) -> None:
        while (operator := self.at_once(*CASTS)) is not None:
            self.visit(operator)

    def at_once(self, *kinds: str) -> Operator | None:
        """As :meth:`only`, with no cast between: those behind the last layer are no part of it."""
        following = self.consumers.get(self.cursor, ())
        if len(following) != 1 or following[0].kind not in kinds:
            return None
        return None if following[0].index in self.found.visited else following[0]
