"""A graph laid flat: functions put in the place of their calls, every input a tensor of the graph.

A tensor is called as its node, with ``:1`` behind for the second output.
Nodes of a function are called as TensorFlow calls them when it does the same:
``call/node``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from porting.sources.checkpoint.wire import Malformed
from porting.sources.graphdef.attributes import Attributes
from porting.sources.graphdef.messages import MOST_NODES, Function, GraphMessage, Node

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_PASSING = (
    "Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics",
    "EnsureShape",
)  # fmt: skip
"""Operations that hand on what they are given."""
_DEPTH = 64
_MOST_LETTERS = 1 << 24
"""Most letters in the names of all nodes and inputs; a network's come to less than a million."""
_OUTPUTS = {
    "batch_mean": 1, "batch_variance": 2, "reserve_space_1": 3, "reserve_space_2": 4,
    "reserve_space_3": 5,
}  # fmt: skip
"""What operations call their outputs behind the first; ``tensors:3`` is the fourth of its own."""


@dataclass(frozen=True, slots=True)
class FlatNode:
    """A node; ``inputs`` are tensors, ``waits`` the nodes that merely run before it."""

    name: str
    op: str
    inputs: tuple[str, ...]
    waits: tuple[str, ...]
    attributes: Attributes


class FlatGraph:
    """The nodes of a graph and of every function that it calls, by name.

    ``functions`` are all that the graph has, those that no call leads to among them.

    Raises:
        Malformed: names are taken twice or lead nowhere, or calls never end.
    """

    def __init__(self, graph: GraphMessage) -> None:
        self.nodes: dict[str, FlatNode] = {}
        self._same: dict[str, str] = {}
        self._calls: dict[str, list[str]] = {}
        self._origins: dict[str, str] = {}
        self._letters = 0
        self.functions = graph.functions
        self._lay(graph.nodes, "", {}, 0)

    def origin(self, tensor: str) -> str:
        """The tensor that a name stands for, behind calls and what hands its input on."""
        passed: dict[str, None] = {}
        while (known := self._origins.get(tensor)) is None:
            following = self._same.get(tensor) or self._passed(tensor)
            if following is None:
                known = tensor
                break
            if tensor in passed:
                raise Malformed(f"{tensor!r} stands for itself")
            passed[tensor] = None
            tensor = following
        self._origins |= dict.fromkeys(passed, known)
        return known

    def producer(self, tensor: str) -> FlatNode | None:
        """The node that makes a tensor."""
        return self.nodes.get(node_of(self.origin(tensor)))

    def inputs(self, node: FlatNode) -> tuple[str, ...]:
        """Where a node's inputs come from."""
        return tuple(self.origin(name) for name in node.inputs)

    def before(self, tensors: Sequence[str], cut: Sequence[str] = ()) -> list[FlatNode]:
        """Every node that these tensors are computed from, each behind its own inputs.

        What ``cut`` names is not followed further.

        Raises:
            Malformed: an input is made by no node, or a node waits for itself.
        """
        done: dict[str, FlatNode] = {}
        entered: set[str] = set()
        waiting = [node_of(self.origin(tensor)) for tensor in reversed(tensors)]
        while waiting:
            name = waiting[-1]
            if name in done or name in cut:
                waiting.pop()
                continue
            if name not in self.nodes:
                raise Malformed(f"no node is called {name!r}")
            node = self.nodes[name]
            ahead = [node_of(tensor) for tensor in self.inputs(node)]
            ahead = [other for other in ahead if other not in done and other not in cut]
            if name in entered:
                if ahead:
                    raise Malformed(f"node {name!r} waits for itself")
                done[name] = node
                waiting.pop()
            else:
                entered.add(name)
                waiting += reversed(ahead)
        return list(done.values())

    def running(self, operation: str) -> list[FlatNode]:
        """Every node that runs when an operation does, by input or by waiting."""
        seen: set[str] = set()
        waiting = [node_of(operation)]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            waiting += self._calls.get(name, ())
            node = self.nodes.get(name)
            if node is not None:
                waiting += (*(node_of(tensor) for tensor in self.inputs(node)), *node.waits)
        return [self.nodes[name] for name in self.nodes if name in seen]

    def _passed(self, tensor: str) -> str | None:
        node = self.nodes.get(node_of(tensor))
        if node is None or not node.inputs:
            return None
        if node.op in _PASSING:
            number = number_of(tensor)
            return node.inputs[number] if number < len(node.inputs) else None
        same_type = node.op == "Cast" and node.attributes.whole("SrcT") == node.attributes.whole(
            "DstT"
        )
        return node.inputs[0] if same_type else None

    def _lay(self, nodes: Sequence[Node], scope: str, given: Mapping[str, str], depth: int) -> None:
        if depth > _DEPTH:
            raise Malformed(f"functions that call each other {_DEPTH} deep")
        for node in nodes:
            if len(self.nodes) + len(self._same) + len(self._calls) > MOST_NODES:
                raise Malformed(f"over {MOST_NODES:,} nodes")
            if self._letters > _MOST_LETTERS:
                raise Malformed(f"over {_MOST_LETTERS:,} letters in the names of its nodes")
            name = scope + node.name
            inputs = tuple(_named(n, scope, given) for n in node.inputs if not n.startswith("^"))
            waits = tuple(scope + n[1:] for n in node.inputs if n.startswith("^"))
            self._letters += len(name) + sum(map(len, (*inputs, *waits)))
            called = self._called(node)
            if called is not None:
                self._call(called, name, inputs, depth)
                continue
            if not node.name or ":" in node.name:
                raise Malformed(f"a node called {node.name!r}")
            if name in self.nodes:
                raise Malformed(f"two nodes called {name!r}")
            self.nodes[name] = FlatNode(name, node.op, inputs, waits, node.attributes)

    def _called(self, node: Node) -> Function | None:
        name = node.attributes.function("f") if node.op in CALLS else node.op
        function = self.functions.get(name)
        if function is None and node.op in CALLS:
            raise Malformed(f"{node.name!r} calls {name!r}, which is no function of the graph")
        return function

    def _call(self, function: Function, name: str, inputs: tuple[str, ...], depth: int) -> None:
        given = dict(zip(function.inputs, inputs, strict=False))
        scope = f"{name}/"
        for number, output in enumerate(function.outputs):
            tensor = _named(function.returns.get(output, output), scope, given)
            self._same[_tensor(name, number)] = tensor
        self._calls[name] = [scope + node.name for node in function.nodes]
        self._lay(function.nodes, scope, given, depth + 1)


def node_of(tensor: str) -> str:
    """The name of the node that makes a tensor."""
    return tensor.partition(":")[0]


def number_of(tensor: str) -> int:
    """Which of its node's outputs a tensor is."""
    return int(tensor.partition(":")[2] or 0)


def canonical(written: str) -> str:
    """A tensor as a graph's node or a signature writes it: ``name:0`` is ``name``.

    Raises:
        Malformed: it is no tensor's name.
    """
    node, _, number = written.partition(":")
    if not node or (number and not (number.isdecimal() and len(number) < 7)):
        raise Malformed(f"{written!r} is no tensor's name")
    return _tensor(node, int(number or 0))


def _tensor(node: str, number: int) -> str:
    return f"{node}:{number}" if number else node


def _named(written: str, scope: str, given: Mapping[str, str]) -> str:
    """A tensor as a node writes it; in a function ``argument`` or ``node:output:0``."""
    if not scope:
        return canonical(written)
    if written in given:
        return given[written]
    node, *rest = written.split(":")
    output, number = (rest + ["", "0"][len(rest) :])[:2] if rest else ("", "0")
    if len(rest) > 2 or not number.isdecimal() or len(number) > 6:
        raise Malformed(f"{written!r} is no tensor of a function")
    return _tensor(scope + node, _OUTPUTS.get(output, 0) + int(number))
