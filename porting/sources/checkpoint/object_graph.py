"""The object graph of a TF2 checkpoint: what its keys are called, and which are no weights.

``tf.train.Checkpoint`` stores variables under the shortest path of attributes
that leads to them, which may be an optimizer's. The graph says what TensorFlow
calls them. Format: ``trackable_object_graph.proto`` in tensorflow/core/protobuf.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from porting.sources.checkpoint.wire import Bytes, Malformed, fields, integer, message, text

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key of the graph (``OBJECT_GRAPH_PROTO_KEY``)."""
_VALUE = "VARIABLE_VALUE"
_MAX_PARTS = 1 << 17
"""Most nodes, edges and attributes together; a network's graph has some thousands."""


@dataclass(slots=True)
class Node:
    """``TrackableObject``.

    ``children`` are pairs of a local name and a node; ``attributes`` triples of
    name, full name and checkpoint key; ``slots`` the nodes of slot variables.
    """

    children: list[tuple[str, int]] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)


def parse_graph(data: Bytes) -> list[Node]:
    """Decode a ``TrackableObjectGraph``; the first node is the root.

    Raises:
        Malformed: it is no such message, leads to a node that is not there, or
            is larger than any network's.
    """
    nodes: list[Node] = []
    parts = 0
    for number, value in fields(data):
        if number != 1:
            continue
        node = Node()
        nodes.append(node)
        for _ in _parse_node(node, message(value)):
            parts += 1
            if parts > _MAX_PARTS:
                raise Malformed(f"over {_MAX_PARTS:,} nodes and edges")
    if not nodes:
        raise Malformed("no node in it")
    for number, node in enumerate(nodes):
        for target in (*(target for _, target in node.children), *node.slots):
            if target >= len(nodes):
                raise Malformed(f"node {number} leads to node {target:,} of {len(nodes):,}")
    return nodes


def _parse_node(node: Node, data: Bytes) -> Iterator[None]:
    """Fill a node; yields once for itself and once for each part, so that these can be counted."""
    yield
    for number, value in fields(data):
        if number not in (1, 2, 3):
            continue
        found = dict(fields(message(value)))
        if number == 1:
            node.children.append((text(found.get(2, b"")), integer(found.get(1, 0))))
        elif number == 2:
            name, full_name, key = (text(found.get(i, b"")) for i in (1, 2, 3))
            node.attributes.append((name, full_name, key))
        else:
            node.slots.append(integer(found.get(3, 0)))
        yield


def full_names(nodes: list[Node], keys: Container[str]) -> dict[str, str]:
    """Checkpoint key -> what TensorFlow calls the variable, where nothing else is called so.

    ``keys`` are all that the checkpoint has.
    """
    named = {
        key: full_name
        for node in nodes
        for name, full_name, key in node.attributes
        if name == _VALUE and full_name
    }
    times = Counter(named.values())
    return {key: name for key, name in named.items() if times[name] == 1 and name not in keys}


def not_weights(nodes: list[Node]) -> dict[str, str]:
    """Checkpoint key -> why what lies there is no weight."""
    slots = {slot for node in nodes for slot in node.slots}
    network = _reachable_without_optimizers(nodes) - slots
    reasons = {GRAPH_KEY: "object graph"}
    counters = {target for name, target in nodes[0].children if name == "save_counter"}
    for number, node in enumerate(nodes):
        for name, _, key in node.attributes:
            if number in slots:
                reasons[key] = "optimizer slot"
            elif number in counters:
                reasons[key] = "save counter"
            elif number not in network:
                reasons[key] = "optimizer state"
            elif name != _VALUE:
                reasons[key] = "not a variable"
    return reasons


def _reachable_without_optimizers(nodes: list[Node]) -> set[int]:
    """Nodes to which a path leads that no optimizer lies on; Keras' optimizers hold the weights."""
    optimizers = {number for number, node in enumerate(nodes) if _is_optimizer(node)}
    seen: set[int] = set()
    waiting = [0]
    while waiting:
        number = waiting.pop()
        if number in seen or number in optimizers:
            continue
        seen.add(number)
        waiting += (target for name, target in nodes[number].children if name != "optimizer")
    return seen


def _is_optimizer(node: Node) -> bool:
    """By its slot variables, or by the attributes that each of Keras 3's optimizers has."""
    return bool(node.slots) or {"_iterations", "_learning_rate"} <= {n for n, _ in node.children}
