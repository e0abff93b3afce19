"""Functions inlined in a graph, so that every input is a tensor of the graph itself.

A tensor has the name of its node, with ``:1`` added for the second output.
Nodes of a function get the names that TensorFlow gives them when it inlines: ``call/node``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from porting.sources.graphdef.graph_def import (
    MOST_NODES,
    Attributes,
    Function,
    GraphDef,
    Node,
)
from porting.sources.protobuf import Malformed

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
"""Operations that call the function that their attribute ``f`` names."""
_IDENTITIES = (
    "Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics",
    "EnsureShape",
)  # fmt: skip
"""Operations whose outputs are their inputs, unchanged."""
_MOST_NESTED = 64
_MOST_LETTERS = 1 << 24
"""Most letters in the names of all nodes and inputs; a network's come to less than a million."""
_OUTPUTS = {
    "batch_mean": 1, "batch_variance": 2, "reserve_space_1": 3, "reserve_space_2": 4,
    "reserve_space_3": 5,
}  # fmt: skip
"""Names of outputs after the first -> their numbers; of others, ``output:3`` has number 3."""


@dataclass(frozen=True, slots=True)
class InlinedNode:
    """A node; ``inputs`` are tensors, ``control_inputs`` the nodes that must only run before it."""

    name: str
    op: str
    inputs: tuple[str, ...]
    control_inputs: tuple[str, ...]
    attributes: Attributes


class InlinedGraph:
    """The nodes of a graph and of every function that it calls, by name.

    ``functions`` are all that the graph has, called or not.

    Raises:
        Malformed: a name is used twice or by no node, or calls never end.
    """

    def __init__(self, graph: GraphDef) -> None:
        self.nodes: dict[str, InlinedNode] = {}
        self._outputs_of_calls: dict[str, str] = {}
        self._nodes_of_calls: dict[str, list[str]] = {}
        self._origins: dict[str, str] = {}
        self._letters = 0
        self.functions = graph.functions
        self._inline(graph.nodes, "", {}, 0)

    def origin(self, tensor: str) -> str:
        """The tensor that a name stands for, before calls and operations that change nothing."""
        names: dict[str, None] = {}
        while (origin := self._origins.get(tensor)) is None:
            before = self._outputs_of_calls.get(tensor) or self._unchanged_input(tensor)
            if before is None:
                origin = tensor
                break
            if tensor in names:
                raise Malformed(f"{tensor!r} stands for itself")
            names[tensor] = None
            tensor = before
        self._origins |= dict.fromkeys(names, origin)
        return origin

    def producer(self, tensor: str) -> InlinedNode | None:
        """The node that computes a tensor."""
        return self.nodes.get(node_of(self.origin(tensor)))

    def inputs(self, node: InlinedNode) -> tuple[str, ...]:
        """The tensors that a node's inputs stand for."""
        return tuple(self.origin(name) for name in node.inputs)

    def before(self, tensors: Sequence[str], cut: Sequence[str] = ()) -> list[InlinedNode]:
        """Every node that these tensors are computed from, in topological order.

        Nodes named in ``cut``, and what only these are computed from, are left out.

        Raises:
            Malformed: no node has an input's name, or nodes depend on each other in a circle.
        """
        order: dict[str, InlinedNode] = {}
        visits: set[str] = set()
        stack = [node_of(self.origin(tensor)) for tensor in reversed(tensors)]
        while stack:
            name = stack[-1]
            if name in order or name in cut:
                stack.pop()
                continue
            if name not in self.nodes:
                raise Malformed(f"no node is called {name!r}")
            node = self.nodes[name]
            ahead = [node_of(tensor) for tensor in self.inputs(node)]
            ahead = [other for other in ahead if other not in order and other not in cut]
            if name in visits:
                if ahead:
                    raise Malformed(f"node {name!r} depends on itself")
                order[name] = node
                stack.pop()
            else:
                visits.add(name)
                stack += reversed(ahead)
        return list(order.values())

    def running(self, operation: str) -> list[InlinedNode]:
        """Every node that runs when an operation does, by inputs and control inputs."""
        names: set[str] = set()
        stack = [node_of(operation)]
        while stack:
            name = stack.pop()
            if name in names:
                continue
            names.add(name)
            stack += self._nodes_of_calls.get(name, ())
            node = self.nodes.get(name)
            if node is not None:
                stack += (*(node_of(tensor) for tensor in self.inputs(node)), *node.control_inputs)
        return [self.nodes[name] for name in self.nodes if name in names]

    def _unchanged_input(self, tensor: str) -> str | None:
        """The input that an operation returns unchanged as this tensor."""
        node = self.nodes.get(node_of(tensor))
        if node is None or not node.inputs:
            return None
        if node.op in _IDENTITIES:
            number = number_of(tensor)
            return node.inputs[number] if number < len(node.inputs) else None
        if node.op != "Cast":
            return None
        source, target = (node.attributes.integer(name) for name in ("SrcT", "DstT"))
        return node.inputs[0] if source == target else None

    def _inline(
        self, nodes: Sequence[Node], scope: str, arguments: Mapping[str, str], depth: int
    ) -> None:
        """Add nodes; those of a function have a scope, and arguments by name."""
        if depth > _MOST_NESTED:
            raise Malformed(f"functions that call each other {_MOST_NESTED} deep")
        for node in nodes:
            count = len(self.nodes) + len(self._outputs_of_calls) + len(self._nodes_of_calls)
            if count > MOST_NODES:
                raise Malformed(f"over {MOST_NODES:,} nodes")
            if self._letters > _MOST_LETTERS:
                raise Malformed(f"over {_MOST_LETTERS:,} letters in the names of its nodes")
            name = scope + node.name
            inputs = tuple(
                _tensor_in(scope, n, arguments) for n in node.inputs if not n.startswith("^")
            )
            control_inputs = tuple(scope + n[1:] for n in node.inputs if n.startswith("^"))
            self._letters += len(name) + sum(map(len, (*inputs, *control_inputs)))
            callee = node.attributes.function("f") if node.op in CALLS else node.op
            function = self.functions.get(callee)
            if function is not None:
                self._inline_call(function, name, inputs, depth)
                continue
            if node.op in CALLS:
                raise Malformed(
                    f"{node.name!r} calls {callee!r}, which is not a function of the graph"
                )
            if not node.name or ":" in node.name:
                raise Malformed(f"a node called {node.name!r}")
            if name in self.nodes:
                raise Malformed(f"two nodes called {name!r}")
            self.nodes[name] = InlinedNode(name, node.op, inputs, control_inputs, node.attributes)

    def _inline_call(
        self, function: Function, name: str, inputs: tuple[str, ...], depth: int
    ) -> None:
        arguments = dict(zip(function.inputs, inputs, strict=False))
        scope = f"{name}/"
        for number, output in enumerate(function.outputs):
            tensor = _tensor_in(scope, function.returns.get(output, output), arguments)
            self._outputs_of_calls[_tensor(name, number)] = tensor
        self._nodes_of_calls[name] = [scope + node.name for node in function.nodes]
        self._inline(function.nodes, scope, arguments, depth + 1)


def node_of(tensor: str) -> str:
    """The name of the node that computes a tensor."""
    return tensor.partition(":")[0]


def number_of(tensor: str) -> int:
    """Which of its node's outputs a tensor is."""
    return int(tensor.partition(":")[2] or 0)


def tensor_name(reference: str) -> str:
    """The name of a tensor to which a node or a signature refers: ``name:0`` is ``name``.

    Raises:
        Malformed: it is not the name of a tensor.
    """
    node, _, number = reference.partition(":")
    if not node or (number and not (number.isdecimal() and len(number) < 7)):
        raise Malformed(f"{reference!r} is not the name of a tensor")
    return _tensor(node, int(number or 0))


def _tensor(node: str, number: int) -> str:
    return f"{node}:{number}" if number else node


def _tensor_in(scope: str, reference: str, arguments: Mapping[str, str]) -> str:
    """The tensor to which a node refers; in a function by ``argument`` or ``node:output:0``."""
    if not scope:
        return tensor_name(reference)
    if reference in arguments:
        return arguments[reference]
    node, *rest = reference.split(":")
    output, number = (rest + ["", "0"][len(rest) :])[:2] if rest else ("", "0")
    if len(rest) > 2 or not number.isdecimal() or len(number) > 6:
        raise Malformed(f"{reference!r} is not a tensor of a function")
    return _tensor(scope + node, _OUTPUTS.get(output, 0) + int(number))
