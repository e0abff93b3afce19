"""Which of a checkpoint's tensors are weights, of which weight set, and what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from porting.sources.protobuf import Bytes, Malformed, fields, integer, message, text

EMA_SUFFIX = "/ExponentialMovingAverage"
"""The suffix by which ``tf.train.ExponentialMovingAverage`` names its shadow variables."""

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key of a TF2 checkpoint's object graph (``OBJECT_GRAPH_PROTO_KEY``)."""

_STATISTICS = ("moving_mean", "moving_variance")
_SLOTS = (
    "/RMSProp", "/RMSProp_1", "/RMSProp_2", "/Momentum", "/Adam", "/Adam_1", "/Adagrad",
    "/Adadelta", "/Adadelta_1", "/Ftrl", "/Ftrl_1",
)  # fmt: skip
"""Suffixes of the slot variables of TensorFlow's optimizers (``tensorflow/python/training``)."""
_STEPS = ("global_step", "beta1_power", "beta2_power")

VALUE = "VARIABLE_VALUE"
"""The attribute of an object that is a variable's value (``VARIABLE_VALUE_KEY``)."""
_MAX_PARTS = 1 << 17
"""Most nodes, edges and attributes together; a network's graph has some thousands."""


@lru_cache(maxsize=1 << 16)
def not_a_weight(name: str) -> str | None:
    """The rule by which a tensor is left out, or None for a weight, judged by its name."""
    if name.endswith(_SLOTS):
        return "optimizer slot"
    if name.rsplit("/", 1)[-1] in _STEPS:
        return "training step"
    return None


def is_statistic(name: str) -> bool:
    """Whether a variable is a batch norm's own running average, which training does not touch.

    ``ExponentialMovingAverage.apply()`` without a list shadows trainable variables
    alone, so that these have no average in some of slim's checkpoints.
    """
    return name.rsplit("/", 1)[-1] in _STATISTICS


# ``tf.train.Checkpoint`` stores variables under the shortest path of attributes that leads to
# them, which may be an optimizer's. Its object graph says what TensorFlow calls them.
# Format: ``trackable_object_graph.proto`` in tensorflow/core/protobuf.


@dataclass(slots=True)
class Node:
    """``TrackableObject``.

    ``children`` are pairs of a local name and a node; ``attributes`` triples of
    name, full name and checkpoint key; ``slots`` the nodes of slot variables.
    """

    children: list[tuple[str, int]] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)


def parse_object_graph(data: Bytes) -> list[Node]:
    """Decode a ``TrackableObjectGraph``; the first node is the root.

    Raises:
        Malformed: it is not such a message, an edge leads to a missing node, or it
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
        raise Malformed("it has no nodes")
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
        content = dict(fields(message(value)))
        if number == 1:
            node.children.append((text(content.get(2, b"")), integer(content.get(1, 0))))
        elif number == 2:
            name, full_name, key = (text(content.get(i, b"")) for i in (1, 2, 3))
            node.attributes.append((name, full_name, key))
        else:
            node.slots.append(integer(content.get(3, 0)))
        yield


def full_names(nodes: list[Node], keys: Container[str]) -> dict[str, str]:
    """Checkpoint key -> TensorFlow's name of the variable, where no other has the same name.

    ``keys`` are all that the checkpoint has.
    """
    names = {
        key: full_name
        for node in nodes
        for name, full_name, key in node.attributes
        if name == VALUE and full_name
    }
    times = Counter(names.values())
    return {key: name for key, name in names.items() if times[name] == 1 and name not in keys}


def not_weights(nodes: list[Node]) -> dict[str, str]:
    """Checkpoint key -> the rule by which its tensor is left out, for all that are not weights."""
    slots = {slot for node in nodes for slot in node.slots}
    # Keras's optimizers have paths to the weights, so theirs are not followed. An optimizer has
    # slot variables, or the attributes that each of Keras 3's has.
    optimizers = {
        number
        for number, node in enumerate(nodes)
        if node.slots or {"_iterations", "_learning_rate"} <= {name for name, _ in node.children}
    }
    network: set[int] = set()
    stack = [0]
    while stack:
        number = stack.pop()
        if number not in network and number not in optimizers:
            network.add(number)
            stack += (target for name, target in nodes[number].children if name != "optimizer")
    network -= slots
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
            elif name != VALUE:
                reasons[key] = "not a variable"
    return reasons
