"""Pairs the values of two graphs that compute the same.

Every value has a *fingerprint*: what computes it, all the way down to the input, but for the
weights. Two graphs are the same where their outputs have one fingerprint; from there the values
are paired from the output up, operand by operand. Operands of a sum or a product have no order:
they are paired by their fingerprints, and where those are equal too, nothing says which weights
belong to which.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from heapq import heapify, heappop, heappush

from porting.errors import MappingError
from porting.graph.node import COMMUTATIVE, Graph, Node

Pairs = list[tuple[Node, Node]]
"""Values of a source and of a network, inputs before what is made of them."""


class AmbiguousAlignment(MappingError):
    """Two layers have the same structure around them, so that either could be the other."""


class GraphMismatch(MappingError):
    """A source and a network differ; ``depth`` layers agree before the first difference."""

    def __init__(self, path: str, depth: int, source: str, network: str) -> None:
        super().__init__(
            f"{path}: source and network differ after {depth} layers in agreement:\n"
            f"  source:  {source}\n  network: {network}"
        )
        self.depth = depth

    def add_line(self, line: str) -> None:
        """Add a line to the message."""
        self.args = (f"{self.args[0]}\n  {line}",)


class Fingerprints:
    """Gives nodes that compute the same, in one graph or several, the same number."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[object, ...], int] = {}

    def of(self, graph: Graph) -> dict[Node, int]:
        """The fingerprint of each node of a graph, inputs before what is made of them."""
        fingerprints: dict[Node, int] = {}
        for node in graph.nodes():
            below = [fingerprints[operand] for operand in node.inputs]
            if node.kind in COMMUTATIVE:
                below.sort()
            key = (node.kind, node.facts, *below)
            fingerprints[node] = self._numbers.setdefault(key, len(self._numbers))
        return fingerprints


class GraphMatcher:
    """A source's graph, fingerprinted once and compared with any number of networks.

    ``path`` names the source in messages.
    """

    def __init__(self, source: Graph, path: str) -> None:
        self.source, self._path = source, path
        self._fingerprints = Fingerprints()
        self._ours = self._fingerprints.of(source)
        self._known = frozenset(self._ours.values())
        self._layers = frozenset(self._ours[node] for node in self._ours if node.weighted)

    def match(self, network: Graph) -> Pairs:
        """Pair every value of the source with its counterpart in a network.

        Raises:
            GraphMismatch: they differ; the first place of each side that the other lacks is named.
            AmbiguousAlignment: two places cannot be told apart.
        """
        ours, theirs = self._ours, self._fingerprints.of(network)
        if ours[self.source.output] != theirs[network.output]:
            others = set(theirs.values())
            raise GraphMismatch(
                self._path, len(self._layers & others), _first_unlike(self.source, ours, others),
                _first_unlike(network, theirs, self._known),
            )  # fmt: skip
        partners = dict(_pairs(self.source.output, network.output, ours, theirs, self._path))
        return [(node, partners[node]) for node in ours]


def _first_unlike(graph: Graph, fingerprints: dict[Node, int], others: Set[int]) -> str:
    """Describe the first node of a graph that has no counterpart in the other."""
    for node, fingerprint in fingerprints.items():
        if fingerprint not in others:
            return describe_node(node)
    return f"the end, at {graph.output.place}"


def _pairs(
    source: Node, network: Node, ours: dict[Node, int], theirs: dict[Node, int], path: str
) -> Iterator[tuple[Node, Node]]:
    """Every pair below two outputs of one fingerprint.

    Raises:
        MappingError: a layer of the source would be two of the network.
    """
    partners: dict[Node, Node] = {}
    history: set[tuple[Node, Node]] = set()
    pending = [(source, network)]
    while pending:
        pair = node, other = pending.pop()
        partner = partners.setdefault(node, other)
        if partner is not other and node.weighted:
            raise MappingError(
                f"{path}: the source computes {node.place} once, the network twice, at "
                f"{partner.place} and at {other.place}"
            )
        if pair in history:
            continue
        history.add(pair)
        if partner is other:
            yield pair
        # What the network computes twice without weights may still be made of other layers.
        operands, others = node.inputs, other.inputs
        if node.kind in COMMUTATIVE:
            if len({ours[operand] for operand in operands}) < len(set(operands)):
                _check_alike(node, other, ours, theirs, path)
            operands = tuple(sorted(operands, key=ours.__getitem__))
            others = tuple(sorted(others, key=theirs.__getitem__))
        pending += zip(operands, others, strict=True)


def _check_alike(
    source: Node, network: Node, ours: dict[Node, int], theirs: dict[Node, int], path: str
) -> None:
    """Check that two operands with one fingerprint do not differ in layers of their own.

    Raises:
        AmbiguousAlignment: they do; nothing says which layer is which.
    """
    places = []
    for node, fingerprints in ((source, ours), (network, theirs)):
        one, other = node.inputs
        layers = _own_layers(one, other, fingerprints)
        if not any(layers):
            return
        places.append([own[0].place if own else "nothing of its own" for own in layers])
    (first, second), (third, fourth) = places
    raise AmbiguousAlignment(
        f"{path}: the structure does not say which layer is which:\n"
        f"  source:  {first}\n     and:  {second}\n"
        f"  network: {third}\n      and: {fourth}\n"
        f"  both give operands of one {source.kind}; build the module so that the two differ, or "
        "load the weights of this place by hand"
    )


def _own_layers(
    one: Node, other: Node, fingerprints: dict[Node, int]
) -> tuple[list[Node], list[Node]]:
    """For each of two values the layers that it does not share with the other, last first.

    The search ends where all that is left is shared by both: no fingerprint is below those of
    its operands, so that the greatest of those left is behind none of the others.
    """
    reached_from = {one: 1, other: 2} if one is not other else {one: 3}
    unshared_nodes = sum(sides != 3 for sides in reached_from.values())
    pending = [(-fingerprints[node], n, node) for n, node in enumerate(reached_from)]
    heapify(pending)
    layers: tuple[list[Node], list[Node]] = ([], [])
    while unshared_nodes:
        _, _, node = heappop(pending)
        sides = reached_from[node]
        if sides != 3:
            unshared_nodes -= 1
            if node.weighted:
                layers[sides - 1].append(node)
        for operand in node.inputs:
            before = reached_from.get(operand, 0)
            after = reached_from[operand] = before | sides
            unshared_nodes += (after != 3) - (before in (1, 2))
            if not before:
                heappush(pending, (-fingerprints[operand], len(reached_from), operand))
    return layers


def describe_node(node: Node) -> str:
    """For messages: where a node is, and what it computes."""
    if node.kind == "dense":
        text = f"dense, {node.facts[0]} -> {node.facts[1]}"
    elif node.weighted:
        kernel, stride, dilation, inputs, outputs, groups = node.facts
        rest = f", dilation {dilation}" if dilation != (1, 1) else ""
        rest += f", {groups} groups" if node.kind == "conv" and groups != 1 else ""
        text = f"{node.kind} {kernel}, stride {stride}, {inputs} -> {outputs}{rest}"
    else:
        text = " ".join([node.kind, ", ".join(str(fact) for fact in node.facts)]).strip()
    # A place that says it already is not repeated.
    is_in_place = text in node.place or " -> " in node.place or f" {node.kind} " in node.place
    return node.place if is_in_place else f"{node.place} ({text})"
